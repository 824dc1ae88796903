"""Finds the handler of a request whose path was seen before, without searching the routes again.

aiohttp searches them by regular expressions for each request, and passes it through two more coroutines. That
takes a tenth of the time that the gateway's process has for a prediction (docs/performance.md).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from aiohttp.web_urldispatcher import UrlMappingMatchInfo

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_PATHS: Final = 4096
MAX_PATH_LENGTH: Final = 1024


class _Match(NamedTuple):
    route: web.AbstractRoute
    parts: dict[str, str]
    handler: Handler


class Dispatcher:
    """The dispatch of an application's requests; `search` is aiohttp's, for paths that are not known."""

    def __init__(self, app: web.Application, search: Handler) -> None:
        """Use it once the application's routes and middlewares are complete."""
        self._app = app
        self._search = search
        self._known: dict[tuple[str, str], _Match] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Call the handler of the request's route, within the application's middlewares."""
        path = request.raw_path.partition("?")[0]
        match = self._known.get((request.method, path)) or await self._find(request, path)
        if match is None or "Expect" in request.headers:
            return await self._search(request)
        info = UrlMappingMatchInfo(match.parts, match.route)
        info.add_app(self._app)
        info.freeze()
        request._match_info = info  # noqa: SLF001 - aiohttp has no other way to set it
        return await match.handler(request)

    async def _find(self, request: web.Request, path: str) -> _Match | None:
        """Find the route of a path, and remember it; return None if it has none, or is not remembered."""
        if len(path) > MAX_PATH_LENGTH or not path.startswith("/") or "#" in path:
            return None
        info = await self._app.router.resolve(request)
        if info.http_exception is not None:
            return None
        handler = info.handler
        for middleware in reversed(self._app.middlewares):
            handler = partial(middleware, handler=handler)
        if len(self._known) >= MAX_PATHS:
            self._known.clear()
        match = self._known[request.method, path] = _Match(info.route, dict(info), handler)
        return match
