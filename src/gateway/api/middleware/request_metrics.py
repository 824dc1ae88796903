"""Counting of requests by route, status and predicted version."""

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
    """A recorder that counts requests by the pattern of their route, so that the number of labels is bounded.

    A path with and without a trailing slash is one route. A request without a route counts by its method.
    """

    def __init__(self, counters: RequestCounters, prediction_handlers: Sequence[Handler]) -> None:
        self._counters = counters
        self._prediction_handlers = prediction_handlers
        self._histograms: dict[tuple[web.AbstractRoute, int, ModelKey | None], Histogram] = {}
        counters.on_reset = self._histograms.clear

    def record(self, request: web.Request, status: int, *, seconds: float, key: ModelKey | None) -> None:
        """Count one request; `key` is the model version that was to predict, if any."""
        histogram = self._histograms.get((request.match_info.route, status, key)) or self._histogram(
            request, status, key=key
        )
        histogram[bisect_left(BUCKET_BOUNDS, seconds)] += 1
        histogram[-1] += seconds

    def _histogram(self, request: web.Request, status: int, *, key: ModelKey | None) -> Histogram:
        route = request.match_info.route
        if route.resource is None:  # aiohttp makes a new route object for each request without a route
            method = request.method if request.method in _KNOWN_METHODS else "other"
            return self._counters.histogram(RouteKey(method, "none", predicts=False), status, key=None)
        path = route.resource.canonical.rstrip("/")
        route_key = RouteKey(route.method, path, predicts=route.handler in self._prediction_handlers)
        histogram = self._counters.histogram(route_key, status, key=key)
        if len(self._histograms) >= _MAX_HISTOGRAMS:
            self._histograms.clear()
        self._histograms[route, status, key] = histogram
        return histogram
