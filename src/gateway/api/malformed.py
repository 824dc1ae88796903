"""Answer requests that are not valid HTTP in the form of every other error, without repeating their bytes.

aiohttp answers those by itself, before the application sees them. Its text quotes the line that it could not
read, which may hold a credential. There is no hook for this but the handler of a connection.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from gateway.api.errors import Problem, internal_error
from gateway.api.middleware.request_id import RequestIdGenerator

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

MAX_REQUEST_LINE_BYTES: Final = 16 * 1024
MAX_HEADER_BYTES: Final = 32 * 1024
"""The limit of one header: tokens and cookies of large organisations are longer than aiohttp's 8 KiB."""


class GatewayRunner(web.AppRunner):
    """A runner whose connections answer malformed requests in the gateway's form."""

    def __init__(self, app: web.Application, *, shutdown_timeout: float, **options: Any) -> None:
        """`options` are those of aiohttp's server, by `gateway.api.server_options`."""
        super().__init__(app, shutdown_timeout=shutdown_timeout, **options)
        self._options = {name: value for name, value in options.items() if name != "handler_cancellation"}

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        return _Server(
            server.request_handler,
            request_factory=server.request_factory,
            handler_cancellation=server.handler_cancellation,
            options=self._options,
        )


class _Server(web.Server):
    def __init__(self, handler: Any, *, options: Mapping[str, Any], **settings: Any) -> None:
        super().__init__(handler, **settings)
        self._options = options
        self.request_ids = RequestIdGenerator()

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._options)


class _Connection(web.RequestHandler):
    __slots__ = ("_request_ids",)

    def __init__(self, server: _Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._request_ids = server.request_ids

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the response to a request that could not be read, and close the connection.

        Raise ConnectionError if a part of another response was sent.
        """
        request_id = self._request_ids.get(None)
        if isinstance(exc, HttpProcessingError):
            problem = _problem(exc)
            logger.debug(
                "Malformed request: %s",
                type(exc).__name__,
                extra={"event": "malformed_request", "request_id": request_id},
            )
        else:
            problem = internal_error()
            logger.error(
                "Request could not be handled",
                exc_info=exc,
                extra={"event": "request_failed", "request_id": request_id, "status": problem.status},
            )
        if request.writer.output_size > 0:
            raise ConnectionError("A part of another response was sent already.")
        response = problem.response(request_id, request.path)
        response.force_close()
        return response


def _problem(error: HttpProcessingError) -> Problem:
    """Return what is wrong, without the bytes of the request that `error` quotes."""
    if isinstance(error, LineTooLong):
        if str(MAX_HEADER_BYTES) in str(error.args[1:]):
            message = f"A header is longer than the limit of {MAX_HEADER_BYTES} bytes."
            return Problem(431, "RESOURCE_LIMIT_EXCEEDED", message)
        message = f"The URL is longer than the limit of {MAX_REQUEST_LINE_BYTES} bytes."
        return Problem(414, "RESOURCE_LIMIT_EXCEEDED", message)
    return Problem(400, "BAD_REQUEST", "The request is not valid HTTP.")
