"""Which route a request belongs to, for those who count requests."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from gateway.telemetry.metrics.requests import BOUNDS, Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web
    from aiohttp.typedefs import Handler

    from gateway.telemetry.metrics.requests import Cell, Traffic
    from workers.protocol.messages import ModelKey

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_MOST_CELLS: Final = 10_000


class Counting:
    """Counts requests by their route's pattern, never by their path: there are only so many.

    A path and its twin with a slash are one route. What has no route is counted by its method, where that
    is a usual one.
    """

    def __init__(self, traffic: Traffic, predicting: Sequence[Handler]) -> None:
        """`predicting` are the handlers that predict."""
        self._traffic = traffic
        self._predicting = predicting
        self._cells: dict[tuple[web.AbstractRoute, int, ModelKey | None], Cell] = {}
        traffic.forgotten = self._cells.clear

    def note(self, request: web.Request, status: int, *, seconds: float, key: ModelKey | None) -> None:
        """Count one request; `key` is the version that was to predict."""
        cell = self._cells.get((request.match_info.route, status, key)) or self._cell(
            request, status, key=key
        )
        cell[bisect_left(BOUNDS, seconds)] += 1
        cell[-1] += seconds

    def _cell(self, request: web.Request, status: int, *, key: ModelKey | None) -> Cell:
        route = request.match_info.route
        if route.resource is None:  # such a route is another one each time
            method = request.method if request.method in _METHODS else "other"
            return self._traffic.cell(Place(method, "none", predicts=False), status, key=None)
        path = route.resource.canonical.rstrip("/")
        place = Place(route.method, path, predicts=route.handler in self._predicting)
        cell = self._traffic.cell(place, status, key=key)
        if len(self._cells) >= _MOST_CELLS:
            self._cells.clear()
        self._cells[route, status, key] = cell
        return cell
