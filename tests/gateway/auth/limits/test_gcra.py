"""Proves the rate limiter: exact at any rate, and never more than the burst and what time gives back."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.limits.gcra import NANOSECONDS, Gcra
from gateway.domain.limits import Rate, parse_rate

DAY = 86400 * NANOSECONDS
RATES = st.builds(Rate, st.integers(1, 999_999_999), st.sampled_from([1, 60, 3600]))
PAUSES = st.lists(st.integers(0, 3 * NANOSECONDS), max_size=60)


class Bucket:
    """A token bucket in exact fractions: another form of the same limit."""

    def __init__(self, rate: Rate, burst: int) -> None:
        self.speed = Fraction(rate.count, rate.seconds * NANOSECONDS)
        self.burst = burst
        self.tokens = Fraction(burst)
        self.at = 0

    def take(self, now: int) -> bool:
        self.tokens = min(Fraction(self.burst), self.tokens + (now - self.at) * self.speed)
        self.at = now
        if admitted := self.tokens >= 1:
            self.tokens -= 1
        return admitted


@given(RATES, st.integers(1, 50), PAUSES, st.integers(0, 10**18))
def test_it_admits_what_a_token_bucket_in_fractions_admits(
    rate: Rate, burst: int, pauses: list[int], start: int
) -> None:
    """Each of the requests is decided alike at any rate, also one whose interval is no whole nanosecond."""
    gcra, bucket, arrival, now = Gcra.of(rate, burst), Bucket(rate, burst), 0, start
    bucket.at = start
    for pause in (0, *pauses):
        now += pause
        arrival, wait = gcra.take(arrival, now)
        assert (wait == 0) == bucket.take(now)
        remaining, seconds = gcra.describe(arrival, now)
        assert remaining == bucket.tokens // 1
        if not remaining:
            missing = (1 - bucket.tokens) / bucket.speed / NANOSECONDS
            assert missing <= seconds < missing + 1


@given(RATES, st.integers(1, 50), st.integers(0, 10**18))
def test_a_client_that_waits_as_told_is_admitted(rate: Rate, burst: int, now: int) -> None:
    """The wait of a refusal, in ticks and rounded up to whole seconds, is enough and no second too long."""
    gcra, arrival = Gcra.of(rate, burst), now * Gcra.of(rate, burst).ticks
    for _ in range(burst):
        arrival, wait = gcra.take(arrival, now)
        assert not wait
    arrival, wait = gcra.take(arrival, now)
    assert wait
    seconds = gcra.seconds(wait)
    assert gcra.take(arrival, now + seconds * NANOSECONDS)[1] == 0
    assert gcra.take(arrival, now + -(-wait // gcra.ticks))[1] == 0
    assert gcra.take(arrival, now + wait // gcra.ticks - 1)[1] > 0
    assert (seconds - 1) * gcra.second < wait


@pytest.mark.parametrize(
    ("text", "burst", "admitted_at_once", "admitted_in_a_minute"),
    [("50/s", 50, 50, 3050), ("600/min", 10, 10, 610), ("1000/h", 1, 1, 17), ("7/min", 3, 3, 10)],
)
def test_rates_in_words(text: str, burst: int, admitted_at_once: int, admitted_in_a_minute: int) -> None:
    """A caller that never stops asking gets its burst, and then the rate; a refusal costs it nothing."""
    gcra, arrival, admitted = Gcra.of(parse_rate(text), burst), 0, []
    for now in range(DAY, DAY + 60 * NANOSECONDS + 1, NANOSECONDS // 100):
        while True:
            arrival, wait = gcra.take(arrival, now)
            if wait:
                break
            admitted.append(now)
    assert admitted.count(DAY) == admitted_at_once
    assert len(admitted) == admitted_in_a_minute


@given(RATES, st.integers(1, 10**12), st.integers(0, 2**61), st.integers(0, 2**80))
def test_all_times_fit_into_64_bits(rate: Rate, burst: int, now: int, arrival: int) -> None:
    """Neither a huge burst of a slow rate nor an arrival out of any range is ever kept as one."""
    gcra = Gcra.of(rate, burst)
    kept, _ = gcra.take(arrival, now)
    assert 0 <= kept // gcra.ticks < 2**63


@given(RATES, st.integers(1, 50), st.integers(0, 2**90))
def test_an_arrival_far_ahead_lasts_no_longer_than_an_interval(rate: Rate, burst: int, ahead: int) -> None:
    """After a limit was raised, or a clock jumped back, a caller waits for one interval at most."""
    gcra = Gcra.of(rate, burst)
    arrival, wait = gcra.take(DAY * gcra.ticks + gcra.capacity + ahead, DAY)
    assert 0 < wait <= gcra.interval
    assert gcra.take(arrival, DAY + -(-wait // gcra.ticks))[1] == 0
