"""Runs the application on aiohttp's server, with connections and a dispatch of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.api.dispatcher import Dispatcher
from gateway.api.malformed import GatewayConnection
from gateway.api.middleware.request_id import RequestIdGenerator

if TYPE_CHECKING:
    from collections.abc import Mapping


class GatewayRunner(web.AppRunner):
    """A runner that finds the handlers of known paths at once, and answers malformed requests in our form."""

    def __init__(self, app: web.Application, *, shutdown_timeout: float = 60.0, **options: Any) -> None:
        """`options` are those of aiohttp's server, by `gateway.api.server_options`."""
        super().__init__(app, shutdown_timeout=shutdown_timeout, **options)
        self._options = {name: value for name, value in options.items() if name != "handler_cancellation"}

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        return _Server(
            Dispatcher(self.app, server.request_handler).handle,
            request_factory=server.request_factory,
            handler_cancellation=server.handler_cancellation,
            options=self._options,
        )


class _Server(web.Server):
    def __init__(self, handler: Any, *, options: Mapping[str, Any], **settings: Any) -> None:
        super().__init__(handler, **settings)
        self._options = options
        self._request_ids = RequestIdGenerator()

    def __call__(self) -> web.RequestHandler:
        return GatewayConnection(self, self._request_ids, loop=self._loop, **self._options)
