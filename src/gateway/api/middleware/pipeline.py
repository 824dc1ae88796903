"""The one middleware around every handler; it calls its steps in order, and each step has its own module."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.api.large_answers import send_if_large
from gateway.api.middleware.request_id import RequestIdGenerator
from gateway.api.middleware.response_compression import compress_response
from gateway.api.middleware.unread_body import has_unread_body, send_before_body
from gateway.serving.service import resolved_model
from gateway.telemetry import logs
from gateway.telemetry.metrics.requests import CLIENT_CLOSED_REQUEST

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

    from gateway.api.body.memory_limit import BodyMemoryLimit
    from gateway.api.connections import ConnectionMonitor
    from gateway.api.inflight import InFlightRequests
    from gateway.api.middleware.error_reporting import ErrorReporter
    from gateway.api.middleware.request_metrics import RequestMetrics

_SERVICE_UNAVAILABLE: Final = 503


def request_pipeline(
    *,
    in_flight: InFlightRequests,
    connections: ConnectionMonitor,
    body_memory: BodyMemoryLimit,
    error_reporter: ErrorReporter,
    request_metrics: RequestMetrics,
) -> Middleware:
    """Return a middleware that gives each request an id, turns errors into responses, and counts both."""
    request_ids = RequestIdGenerator()

    @web.middleware
    async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = request_ids.get(request.headers.get("X-Request-Id"))
        logs.request_id.set(request_id)
        connection = request.protocol
        in_flight.add(connection)
        started, status, body_refused = perf_counter(), CLIENT_CLOSED_REQUEST, False
        try:
            response: web.StreamResponse = await handler(request)
            if "Accept-Encoding" in request.headers:
                response = await compress_response(request, response)
            status = response.status
            if type(response) is not web.Response:
                await send_if_large(request, response, request_id=request_id, last=in_flight.draining)
        except asyncio.CancelledError:
            status = _SERVICE_UNAVAILABLE if in_flight.aborted else status
            raise
        except Exception as error:
            if request.transport is None and isinstance(error, ConnectionError):
                raise  # the client disconnected; aiohttp ends the connection
            response = error_reporter.report(error, request).response(request_id, request.path)
            status, body_refused = response.status, has_unread_body(request)
        finally:
            in_flight.remove(connection)
            request_metrics.record(
                request, status, seconds=perf_counter() - started, key=resolved_model.get()
            )
            connections.touch(connection)
            if body_memory.reserved_bytes:
                body_memory.release(connection)
        response.headers["X-Request-Id"] = request_id
        if in_flight.draining:
            response.force_close()  # so that the client's next request goes to another process
        if body_refused:
            await send_before_body(request, response)
        return response

    return handle
