"""Counts and durations of requests, kept as plain numbers because every request is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from workers.metrics import DURATION_BOUNDS, OTHER, Cells, CounterSpec, LabelLimiter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workers.protocol.messages import ModelKey

REQUESTS: Final = CounterSpec(
    "http_requests",
    "Requests by status; 499: the client disconnected first; 503 includes those that a shutdown cancelled.",
    ("method", "route", "code"),
)
PREDICTIONS: Final = CounterSpec(
    "predictions",
    "Prediction requests whose model and version were found, by status.",
    ("model", "version", "code"),
)
BUCKET_BOUNDS: Final = DURATION_BOUNDS
"""The upper bounds of the buckets in seconds; one more bucket has no bound."""
CLIENT_CLOSED_REQUEST: Final = 499
"""The status of a request whose client disconnected before the response; nginx uses the same."""

Labels = tuple[str, ...]
Histogram = Cells
"""The number of requests in each bucket, then the sum of their seconds."""


class RouteKey(NamedTuple):
    """A method and a route's pattern, and whether the route predicts."""

    method: str
    route: str
    predicts: bool


class RequestCounters:
    """A set of histograms by route, status and model version; callers keep a histogram and add to it.

    `LabelLimiter` bounds the number of model versions. `on_reset` is called when callers must no longer use
    the histograms that they keep.
    """

    def __init__(self) -> None:
        self._histograms: dict[Labels, dict[tuple[RouteKey, int], Histogram]] = {}
        self._version_limiter = LabelLimiter(
            total=self._request_count, merge_into_other=self._merge_into_other
        )
        self.on_reset: Callable[[], None] = _noop

    def histogram(self, route: RouteKey, status: int, *, key: ModelKey | None) -> Histogram:
        """Return the histogram of such requests; `key` is the model version that was to predict, if any."""
        version: Labels = ()
        if key is not None and route.predicts:
            version = key.name, key.version
            self._version_limiter.track(key.name, key.version)
        return self._histogram(version, route, status=status)

    def copy(self) -> RequestCounters:
        """Return a copy for a thread to read."""
        copied = RequestCounters()
        copied._histograms = {
            version: {kind: histogram.copy() for kind, histogram in histograms.items()}
            for version, histograms in self._histograms.items()
        }
        return copied

    def requests(self) -> Iterator[tuple[Labels, float]]:
        """Yield the counts of `REQUESTS`; the reader must sum those with equal labels."""
        for _, route, status, histogram in self._iter_histograms():
            yield (route.method, route.route, str(status)), sum(histogram[:-1])

    def predictions(self) -> Iterator[tuple[Labels, float]]:
        """Yield the counts of `PREDICTIONS`; the reader must sum those with equal labels."""
        for version, _, status, histogram in self._iter_histograms():
            if version:
                yield (*version, str(status)), sum(histogram[:-1])

    def durations(self) -> Iterator[tuple[Labels, Histogram]]:
        """Yield the histograms of predictions by status class (`2xx`); the reader must sum equal labels."""
        for _, route, status, histogram in self._iter_histograms():
            if route.predicts:
                yield (f"{status // 100}xx",), histogram

    def _iter_histograms(self) -> Iterator[tuple[Labels, RouteKey, int, Histogram]]:
        for version, histograms in self._histograms.items():
            for (route, status), histogram in histograms.items():
                yield version, route, status, histogram

    def _histogram(self, version: Labels, route: RouteKey, *, status: int) -> Histogram:
        histograms = self._histograms.setdefault(version, {})
        return histograms.setdefault((route, status), [0.0] * (len(BUCKET_BOUNDS) + 2))

    def _request_count(self, version: Labels) -> float:
        return sum(sum(histogram[:-1]) for histogram in self._histograms[version].values())

    def _merge_into_other(self, version: Labels) -> None:
        for (route, status), histogram in self._histograms.pop(version).items():
            other = self._histogram(OTHER, route, status=status)
            other[:] = [a + b for a, b in zip(other, histogram, strict=True)]
        self.on_reset()


def _noop() -> None:
    """Do nothing, if no caller keeps histograms."""
