"""What may be answered otherwise than rightly, when, and why."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

CROWDED: Final = "crowded"
DIED_TWICE: Final = "killed twice"
LATE: Final = "killed, and replaced late by an overloaded machine"
_OVERLOAD: Final = 2.0  # processes that want to run, for each core
_DEATHS: Final = 2
_NEWS_SECONDS: Final = 0.5  # in which a dead worker may still be given jobs
_WORKER_DIED: Final = "The worker's process ended"
_NO_ROOM: Final = "may be loaded at once"
_MOST_CROWDS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Sample:
    """A request and its answer; times are monotonic seconds, status 0 is no answer at all."""

    name: str
    ref: str
    began: float
    ended: float
    status: int
    text: str = ""


@dataclass(slots=True)
class Window:
    """A fault that explains these statuses for requests that it overlaps.

    It concerns the models in `names`, or all where that is empty; where `unknown_only`, then only
    references that no cache could answer; one that `forgets` makes these models such. It ends
    at `until`, and for a model that was rightly answered before that with the end of this answer, where
    its request was made `quiet` seconds after the fault began, or later.
    """

    kind: str
    statuses: frozenset[int]
    since: float
    until: float
    names: frozenset[str] = frozenset()
    unknown_only: bool = False
    forgets: bool = False
    quiet: float = inf
    recovered: dict[str, float] = field(default_factory=dict)

    def concerns(self, name: str) -> bool:
        """Whether the model is one of those."""
        return not self.names or name in self.names

    def explains(self, sample: Sample, *, known: bool) -> bool:
        """Whether an answer such as this may come of it."""
        return sample.status in self.statuses and self.meets(sample) and not (self.unknown_only and known)

    def meets(self, sample: Sample) -> bool:
        """Whether the fault lasted at some time of the request."""
        until = min(self.until, self.recovered.get(sample.name, inf))
        return self.concerns(sample.name) and sample.began <= until and sample.ended >= self.since

    def note_right(self, sample: Sample) -> None:
        """A model that answers rightly again is over the fault."""
        if self.concerns(sample.name) and sample.began >= self.since + self.quiet:
            self.recovered.setdefault(sample.name, sample.ended)


class Ledger:
    """The windows of all faults, the deaths of workers, and how many models were asked for at a time."""

    def __init__(self, *, places: int, overloaded: Callable[[], bool] | None = None) -> None:
        """`places` is how many references asked for at a time may find no room."""
        self._overloaded = overloaded or _overloaded
        self._places = places
        self._deaths: list[tuple[float, str]] = []
        self._crowds: deque[tuple[float, int]] = deque(maxlen=_MOST_CROWDS)
        self.windows: list[Window] = []

    def open(self, window: Window) -> Window:
        """Note a fault; the window may be changed later."""
        self.windows.append(window)
        return window

    def died(self, name: str, *, at: float, times: int = 1) -> None:
        """Note that a worker of the model (of any, where that is empty) was made to die."""
        self._deaths += [(at, name)] * times

    def crowd(self, references: int, *, at: float) -> None:
        """Note how many references are asked for at this moment."""
        self._crowds.append((at, references))

    def note_right(self, sample: Sample) -> None:
        """Note a right answer."""
        for window in self.windows:
            window.note_right(sample)

    def explain(self, sample: Sample, *, known: bool) -> str | None:
        """The kind of fault that explains this answer; None where there is none."""
        if sample.status == 500 and _WORKER_DIED in sample.text and self._deaths_during(sample) >= _DEATHS:
            return DIED_TWICE
        if sample.status == 504 and self._deaths_during(sample) and self._overloaded():
            return LATE
        if sample.status == 503 and _NO_ROOM in sample.text and self._crowded(sample):
            return CROWDED
        known = known and not any(window.forgets and window.meets(sample) for window in self.windows)
        found = (window.kind for window in self.windows if window.explains(sample, known=known))
        return next(found, None)

    def active(self, *, since: float, until: float) -> Collection[str]:
        """The faults of this time, for people."""
        windows = self.windows
        return [
            f"{window.kind} {'of ' if window.names else ''}{', '.join(sorted(window.names))}".strip()
            for window in windows
            if window.since <= until and window.until >= since
        ]

    def _deaths_during(self, sample: Sample) -> int:
        """How many deaths lay within the time of the request; each job is given a second try."""
        names, since = {"", sample.name}, sample.began - _NEWS_SECONDS
        return sum(since <= at <= sample.ended and name in names for at, name in self._deaths)

    def _crowded(self, sample: Sample) -> bool:
        during = [many for at, many in self._crowds if sample.began <= at <= sample.ended]
        return max(during, default=0) >= self._places


def _overloaded() -> bool:
    """Whether so much wants to run here that a process may well take seconds to start."""
    return os.getloadavg()[0] > _OVERLOAD * (os.cpu_count() or 1)
