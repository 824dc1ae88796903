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
from gateway.api.middleware.security_headers import add_security_headers

if TYPE_CHECKING:
    from gateway.api.middleware.request_id import RequestIdGenerator

logger = logging.getLogger(__name__)

MAX_REQUEST_LINE_BYTES: Final = 16 * 1024
MAX_HEADER_BYTES: Final = 32 * 1024
"""The limit of one header: tokens and cookies of large organisations are longer than aiohttp's 8 KiB."""


class GatewayConnection(web.RequestHandler):
    """The handler of one connection."""

    __slots__ = ("_request_ids",)

    def __init__(self, server: web.Server, request_ids: RequestIdGenerator, **options: Any) -> None:
        """`options` are those of aiohttp's handler."""
        super().__init__(server, **options)
        self._request_ids = request_ids

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
        add_security_headers(response.headers)
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
