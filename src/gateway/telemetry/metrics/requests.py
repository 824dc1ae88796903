"""Requests by how they were answered: plain numbers, counted on the way of every request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from workers.metrics import OTHER, CounterSpec, LabelLimiter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workers.protocol.messages import ModelKey

REQUESTS: Final = CounterSpec(
    "requests",
    "Requests by how they were answered; 499: the client went away before; 503 also: given up at shutdown.",
    ("method", "route", "status"),
)
PREDICTIONS: Final = CounterSpec(
    "invocations",
    "Requests for predictions whose model and version were found, by how they were answered.",
    ("model", "version", "status"),
)
BUCKET_BOUNDS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
"""Upper ends of the histogram's buckets in seconds; one more bucket has no end."""
CLIENT_CLOSED_REQUEST: Final = 499
"""What stands for a status where the client went away before it was answered, as nginx has it."""

Labels = tuple[str, ...]
Histogram = list[float]
"""How many requests took how long, a number per bucket; then the sum of their seconds."""


class RouteKey(NamedTuple):
    """A method of a route's pattern, and whether it predicts."""

    method: str
    route: str
    predicts: bool


class RequestCounters:
    """Holds a cell for whatever is told apart; whoever counts adds to it without asking again.

    Of the model versions only so many are told apart, see `LabelLimiter`. `forgotten` is called when cells that
    were handed out are not to be used any more.
    """

    def __init__(self) -> None:
        self._histograms: dict[Labels, dict[tuple[RouteKey, int], Histogram]] = {}
        self._version_limiter = LabelLimiter(
            total=self._request_count, merge_into_other=self._merge_into_other
        )
        self.on_reset: Callable[[], None] = _noop

    def histogram(self, place: RouteKey, status: int, *, key: ModelKey | None) -> Histogram:
        """Where to count requests that were answered so; `key` is the version that was to predict."""
        version: Labels = ()
        if key is not None and place.predicts:
            version = key.name, key.version
            self._version_limiter.track(key.name, key.version)
        return self._histogram(version, place, status)

    def copy(self) -> RequestCounters:
        """The counts of this moment, for a thread to read."""
        copied = RequestCounters()
        copied._histograms = {
            version: {kind: cell.copy() for kind, cell in cells.items()}
            for version, cells in self._histograms.items()
        }
        return copied

    def requests(self) -> Iterator[tuple[Labels, float]]:
        """Counts of `REQUESTS`; those of the same labels belong together."""
        for _, place, status, cell in self._iter_histograms():
            yield (place.method, place.route, str(status)), sum(cell[:-1])

    def predictions(self) -> Iterator[tuple[Labels, float]]:
        """Counts of `PREDICTIONS`; those of the same labels belong together."""
        for version, _, status, cell in self._iter_histograms():
            if version:
                yield (*version, str(status)), sum(cell[:-1])

    def durations(self) -> Iterator[tuple[Labels, Histogram]]:
        """How long predictions took, by `2xx` and its like; cells of the same labels belong together."""
        for _, place, status, cell in self._iter_histograms():
            if place.predicts:
                yield (f"{status // 100}xx",), cell

    def _iter_histograms(self) -> Iterator[tuple[Labels, RouteKey, int, Histogram]]:
        for version, cells in self._histograms.items():
            for (place, status), cell in cells.items():
                yield version, place, status, cell

    def _histogram(self, version: Labels, place: RouteKey, status: int) -> Histogram:
        cells = self._histograms.setdefault(version, {})
        return cells.setdefault((place, status), [0.0] * (len(BUCKET_BOUNDS) + 2))

    def _request_count(self, version: Labels) -> float:
        return sum(sum(cell[:-1]) for cell in self._histograms[version].values())

    def _merge_into_other(self, version: Labels) -> None:
        for (place, status), cell in self._histograms.pop(version).items():
            others = self._histogram(OTHER, place, status)
            others[:] = [a + b for a, b in zip(others, cell, strict=True)]
        self.on_reset()


def _noop() -> None:
    """Nobody keeps cells."""
