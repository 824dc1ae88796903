"""Which route a request belongs to, for those who count requests."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from gateway.telemetry.metrics.requests import BUCKET_BOUNDS, RouteKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web
    from aiohttp.typedefs import Handler

    from gateway.telemetry.metrics.requests import Histogram, RequestCounters
    from workers.protocol.messages import ModelKey

_KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_MAX_HISTOGRAMS: Final = 10_000


class RequestMetrics:
    """Counts requests by their route's pattern, never by their path: there are only so many.

    A path and its twin with a slash are one route. What has no route is counted by its method, where that
    is a usual one.
    """

    def __init__(self, counters: RequestCounters, prediction_handlers: Sequence[Handler]) -> None:
        """`predicting` are the handlers that predict."""
        self._counters = counters
        self._prediction_handlers = prediction_handlers
        self._histograms: dict[tuple[web.AbstractRoute, int, ModelKey | None], Histogram] = {}
        counters.on_reset = self._histograms.clear

    def record(self, request: web.Request, status: int, *, seconds: float, key: ModelKey | None) -> None:
        """Count one request; `key` is the version that was to predict."""
        cell = self._histograms.get((request.match_info.route, status, key)) or self._histogram(
            request, status, key=key
        )
        cell[bisect_left(BUCKET_BOUNDS, seconds)] += 1
        cell[-1] += seconds

    def _histogram(self, request: web.Request, status: int, *, key: ModelKey | None) -> Histogram:
        route = request.match_info.route
        if route.resource is None:  # such a route is another one each time
            method = request.method if request.method in _KNOWN_METHODS else "other"
            return self._counters.histogram(RouteKey(method, "none", predicts=False), status, key=None)
        path = route.resource.canonical.rstrip("/")
        place = RouteKey(route.method, path, predicts=route.handler in self._prediction_handlers)
        cell = self._counters.histogram(place, status, key=key)
        if len(self._histograms) >= _MAX_HISTOGRAMS:
            self._histograms.clear()
        self._histograms[route, status, key] = cell
        return cell
