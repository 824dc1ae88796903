"""Requests by how they were answered: plain numbers, counted on the way of every request."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Final

from workers.pool import Event, ModelKey

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUESTS: Final = Event(
    "requests",
    "Requests by how they were answered; 499: the client went away before.",
    ("method", "route", "status"),
)
INVOCATIONS: Final = Event(
    "invocations",
    "Requests for predictions whose model and version were found, by how they were answered.",
    ("model", "version", "status"),
)
BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper ends of the histogram's buckets in seconds; one more bucket has no end."""
CLIENT_GONE: Final = 499
"""What stands for a status where the client went away before it was answered, as nginx has it."""

_MOST_VERSIONS: Final = 1_000
_OTHERS: Final = ModelKey("other", "other", "")  # no version has such a name

Labels = tuple[str, ...]


class Handled:
    """How often one method of one route was answered with each status.

    `times` is there for routes that predict: by the status' first digit, how many took how long, a
    number per bucket, and the sum of their seconds.
    """

    __slots__ = ("method", "route", "statuses", "times")

    def __init__(self, method: str, route: str, *, predicts: bool) -> None:
        self.method = method
        self.route = route
        self.statuses: Counter[int] = Counter()
        self.times: dict[int, list[float]] | None = {} if predicts else None


class Traffic:
    """Counts every request; a version that comes after a thousand others is counted as `other`."""

    def __init__(self) -> None:
        self._handled: list[Handled] = []
        self._versions: dict[ModelKey, Counter[int]] = {}

    def of(self, method: str, route: str, *, predicts: bool = False) -> Handled:
        """A new place to count what is asked by `method` of `route`; two alike are summed when read."""
        handled = Handled(method, route, predicts=predicts)
        self._handled.append(handled)
        return handled

    def note(self, handled: Handled, status: int, *, seconds: float, key: ModelKey | None) -> None:
        """Count one request, answered after `seconds`; `key` is the version that was to predict."""
        handled.statuses[status] += 1
        if (times := handled.times) is None:
            return
        kind = status // 100
        if kind not in times:
            times[kind] = [0.0] * (len(BOUNDS) + 2)
        numbers = times[kind]
        numbers[bisect_left(BOUNDS, seconds)] += 1
        numbers[-1] += seconds
        if key is not None:
            (self._versions.get(key) or self._new(key))[status] += 1

    def _new(self, key: ModelKey) -> Counter[int]:
        full = len(self._versions) >= _MOST_VERSIONS
        return self._versions.setdefault(_OTHERS if full else key, Counter())

    def requests(self) -> Iterator[tuple[Labels, int]]:
        """The counts of `REQUESTS`."""
        for handled in self._handled:
            for status, count in handled.statuses.items():
                yield (handled.method, handled.route, str(status)), count

    def invocations(self) -> Iterator[tuple[Labels, int]]:
        """The counts of `INVOCATIONS`."""
        for key, statuses in self._versions.items():
            for status, count in statuses.items():
                yield (key.name, key.version, str(status)), count

    def times(self) -> Iterator[tuple[Labels, list[float]]]:
        """How long invocations took, by `2xx` and its like: a number per bucket, and the sum of seconds."""
        for handled in self._handled:
            for kind, numbers in (handled.times or {}).items():
                yield (f"{kind}xx",), numbers
