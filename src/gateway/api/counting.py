"""Which route a request belongs to, for those who count requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web
    from aiohttp.typedefs import Handler

    from gateway.metrics.traffic import Handled, Traffic
    from workers.pool import ModelKey

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Counting:
    """Counts requests by their route's pattern, never by their path: there are only so many.

    A path and its twin with a slash are one route. What has no route is counted by its method, where that
    is a usual one.
    """

    def __init__(self, traffic: Traffic, predicting: Sequence[Handler]) -> None:
        """`predicting` are the handlers whose time is counted."""
        self._traffic = traffic
        self._predicting = predicting
        self._known: dict[web.AbstractRoute, Handled] = {}
        self._lost: dict[str, Handled] = {}

    def note(self, request: web.Request, status: int, *, seconds: float, key: ModelKey | None) -> None:
        """Count one request; `key` is the version that was to predict."""
        handled = self._known.get(request.match_info.route) or self._new(request)
        self._traffic.note(handled, status, seconds=seconds, key=key)

    def _new(self, request: web.Request) -> Handled:
        route = request.match_info.route
        if route.resource is None:
            method = request.method if request.method in _METHODS else "other"
            if method not in self._lost:
                self._lost[method] = self._traffic.of(method, "none")
            return self._lost[method]
        path = route.resource.canonical.rstrip("/")
        handled = self._traffic.of(route.method, path, predicts=route.handler in self._predicting)
        self._known[route] = handled
        return handled
