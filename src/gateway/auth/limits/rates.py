"""The theoretical arrival of each principal, for a gateway of one process."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from gateway.auth.limits.gcra import Gcra

MAX_ENTRIES: Final = 100_000


class Rates(Protocol):
    """What remembers the arrivals of all principals, in bounded memory.

    One that it forgets has its whole burst again, and never more.
    """

    def take(self, name: str, gcra: Gcra, *, now: int) -> tuple[int, int]:
        """Take one request of the principal `name`, and return what `Gcra.take` returns."""
        ...


class LocalRates:
    """The arrivals of all principals in this process; beyond the limit, it forgets the longest unused one."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._arrivals: OrderedDict[str, tuple[int, int]] = OrderedDict()  # with the ticks of a nanosecond

    def __len__(self) -> int:
        return len(self._arrivals)

    def take(self, name: str, gcra: Gcra, *, now: int) -> tuple[int, int]:
        """Take one request of the principal `name`, and return what `Gcra.take` returns."""
        arrivals = self._arrivals
        arrival, ticks = arrivals.get(name, (0, gcra.ticks))
        if ticks != gcra.ticks:
            arrival = arrival * gcra.ticks // ticks
        taken = gcra.take(arrival, now)
        arrivals[name] = taken[0], gcra.ticks
        arrivals.move_to_end(name)
        if len(arrivals) > self._max_entries:
            arrivals.popitem(last=False)
        return taken
