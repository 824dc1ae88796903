"""The one middleware around every handler; it calls its steps in order, and each step has its own module."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.api.large_answers import send_if_large
from gateway.api.middleware.request_id import RequestIdGenerator
from gateway.api.middleware.response_compression import compress_response
from gateway.api.middleware.security_headers import RESOURCE_POLICY, add_security_headers
from gateway.api.middleware.unread_body import has_unread_body, send_before_body
from gateway.serving.service import resolved_model
from gateway.telemetry import logs
from gateway.telemetry.metrics.requests import CLIENT_CLOSED_REQUEST

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from gateway.api.body.memory_limit import BodyMemoryLimit
    from gateway.api.connections import ConnectionMonitor
    from gateway.api.inflight import InFlightRequests
    from gateway.api.middleware.access_control import AccessCheck, AccessControl
    from gateway.api.middleware.auditing import Auditor
    from gateway.api.middleware.browser import BrowserRules
    from gateway.api.middleware.error_reporting import ErrorReporter
    from gateway.api.middleware.request_metrics import RequestMetrics

_SERVICE_UNAVAILABLE: Final = 503


class RequestPipeline:
    """The steps around each handler: an id, access control, errors as responses, and counts of both."""

    def __init__(
        self,
        *,
        browser: BrowserRules,
        in_flight: InFlightRequests,
        connections: ConnectionMonitor,
        body_memory: BodyMemoryLimit,
        error_reporter: ErrorReporter,
        request_metrics: RequestMetrics,
        access_control: AccessControl | None = None,
        auditor: Auditor | None = None,
    ) -> None:
        """Without `access_control` every request may go on; `auditor` writes what was admitted or refused."""
        self._browser = browser
        self._in_flight = in_flight
        self._connections = connections
        self._body_memory = body_memory
        self._error_reporter = error_reporter
        self._request_metrics = request_metrics
        self._access_control = access_control
        self._auditor = auditor
        self._request_ids = RequestIdGenerator()

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = self._request_ids.get(request.headers.get("X-Request-Id"))
        logs.request_id.set(request_id)
        in_flight, connection = self._in_flight, request.protocol
        in_flight.add(connection)
        check = None if self._access_control is None else self._access_control.begin(request)
        started, status, body_refused = perf_counter(), CLIENT_CLOSED_REQUEST, False
        response: web.StreamResponse | None = None
        try:
            response = await self._respond(request, handler, check)
            status = response.status
            if type(response) is not web.Response:
                await send_if_large(request, response, request_id=request_id, last=in_flight.draining)
        except asyncio.CancelledError:
            status = _SERVICE_UNAVAILABLE if in_flight.aborted else status
            raise
        except Exception as error:
            if request.transport is None and isinstance(error, ConnectionError):
                raise  # the client disconnected; aiohttp ends the connection
            if check is not None:
                check.note(error)
            response = self._error_reporter.report(error, request).response(request_id, request.path)
            status, body_refused = response.status, has_unread_body(request)
        finally:
            in_flight.remove(connection)
            self._record(request, response, check, status=status, seconds=perf_counter() - started)
        response.headers["X-Request-Id"] = request_id
        if RESOURCE_POLICY not in response.headers:  # predictions have them from the start
            add_security_headers(response.headers)
        if in_flight.draining:
            response.force_close()  # so that the client's next request goes to another process
        if body_refused:
            await send_before_body(request, response)
        return response

    async def _respond(
        self, request: web.Request, handler: Handler, check: AccessCheck | None
    ) -> web.StreamResponse:
        if (preflight := self._browser.check(request)) is not None:
            return preflight
        access_control = self._access_control
        if (
            access_control is not None
            and check is not None
            and not access_control.admit_known(request, check)
        ):
            await access_control.admit(request, check)
        response: web.StreamResponse = await handler(request)
        if "Accept-Encoding" in request.headers:
            response = await compress_response(request, response)
        if check is not None and check.admission is not None and check.admission.headers:
            response.headers.update(check.admission.headers)
        return response

    def _record(
        self,
        request: web.Request,
        response: web.StreamResponse | None,
        check: AccessCheck | None,
        *,
        status: int,
        seconds: float,
    ) -> None:
        """Count the request, write it to the audit log, and let go of what it held."""
        self._request_metrics.record(request, status, seconds=seconds, key=resolved_model.get())
        if self._access_control is not None and check is not None:
            self._access_control.end(check, status)
            if self._auditor is not None:
                self._auditor.record(request, check, status=status, response=response, seconds=seconds)
        self._connections.touch(request.protocol)
        if self._body_memory.reserved_bytes:
            self._body_memory.release(request.protocol)
