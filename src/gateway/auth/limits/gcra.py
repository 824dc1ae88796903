"""The generic cell rate algorithm: a rate limit that needs one number for each principal."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.domain.limits import Rate

NANOSECONDS: Final = 10**9
_MAX_DEBT_NANOSECONDS: Final = 2**61  # 73 years: with the clock, it fits into 64 bits with a sign


@dataclass(frozen=True, slots=True)
class Gcra:
    """A rate limiter without state: its caller keeps one time for each principal, its theoretical arrival.

    That is when the last admitted request would have come, had all come evenly spread. It may be ahead of
    the clock by `capacity` at most. All times but `now` are whole ticks, `ticks` of which are a nanosecond,
    so that the interval of any rate is exact: 3/s is one request every 10⁹ ticks of a third nanosecond.
    """

    ticks: int
    interval: int
    burst: int
    tolerance: int
    capacity: int
    second: int

    @classmethod
    def of(cls, rate: Rate, burst: int) -> Gcra:
        """Return the limiter of a rate; a burst that takes 73 years to come back counts as no longer."""
        period = rate.seconds * NANOSECONDS
        common = gcd(period, rate.count)
        ticks, interval = rate.count // common, period // common
        burst = max(1, min(burst, _MAX_DEBT_NANOSECONDS * ticks // interval))
        return cls(ticks, interval, burst, (burst - 1) * interval, burst * interval, ticks * NANOSECONDS)

    def take(self, arrival: int, now: int) -> tuple[int, int]:
        """Return the new arrival, and 0 if a request is admitted at `now`, in nanoseconds, else the wait.

        An arrival further ahead than any of this limit, from when the limit was another one, is shortened.
        """
        now *= self.ticks
        ahead = arrival - now
        if ahead <= 0:
            return now + self.interval, 0
        if ahead <= self.tolerance:
            return arrival + self.interval, 0
        if ahead > self.capacity:
            return now + self.capacity, self.interval
        return arrival, ahead - self.tolerance

    def describe(self, arrival: int, now: int) -> tuple[int, int]:
        """Return how many requests would be admitted at once at `now`, and until when, in whole seconds.

        If there are some, the seconds are those until the burst is complete again, else until the next one
        is admitted. They are rounded up.
        """
        ahead = arrival - now * self.ticks
        if ahead <= 0:
            return self.burst, 0
        remaining = (self.capacity - ahead) // self.interval
        return remaining, self.seconds(ahead if remaining else ahead - self.tolerance)

    def seconds(self, ticks: int) -> int:
        """Return ticks as whole seconds, rounded up."""
        return -(-ticks // self.second)

    @property
    def window_seconds(self) -> int:
        """Whole seconds, rounded up, in which a used-up burst comes back."""
        return self.seconds(self.capacity)
