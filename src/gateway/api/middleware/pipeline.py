"""The one layer around every handler: the request's id, errors as answers, and counts of both."""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.api import errors, keys
from gateway.api.middleware import response_compression
from gateway.errors import INTERNAL_ERRORS
from gateway.serving.service import resolved_model
from gateway.telemetry import logs
from gateway.telemetry.metrics.requests import CLIENT_CLOSED_REQUEST
from workers.errors import ModelError

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

    from gateway.api.body.memory_limit import BodyMemoryLimit
    from gateway.api.connections import ConnectionMonitor
    from gateway.api.inflight import InFlightRequests
    from gateway.api.middleware.request_id import RequestIdGenerator
    from gateway.api.middleware.request_metrics import RequestMetrics
    from gateway.settings import CurrentSettings

logger = logging.getLogger(__name__)

_SERVICE_UNAVAILABLE: Final = 503


def request_pipeline(
    ids: RequestIdGenerator,
    in_flight: InFlightRequests,
    *,
    connections: ConnectionMonitor,
    body_memory: BodyMemoryLimit,
    request_metrics: RequestMetrics,
    settings: CurrentSettings,
) -> Middleware:
    """A middleware that gives each request its id, turns whatever is raised into an answer, and counts it."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = ids.get(request.headers.get("X-Request-Id"))
        logs.request_id.set(request_id)
        connection = request.protocol
        in_flight.add(connection)
        began, status = perf_counter(), CLIENT_CLOSED_REQUEST
        try:
            response: web.StreamResponse = await handler(request)
            if "Accept-Encoding" in request.headers:
                response = await response_compression.compress_response(request, response)
            status = response.status
        except asyncio.CancelledError:
            if in_flight.aborted:
                status = _SERVICE_UNAVAILABLE
            raise
        except Exception as error:
            if request.transport is None and isinstance(error, ConnectionError):
                raise  # the client is gone, and aiohttp takes note of it
            told_text = settings.value.model_error_text
            response = _error_response(
                request, request_id, to_problem(error, request, model_error_text=told_text)
            )
            status = response.status
        finally:
            in_flight.remove(connection)
            request_metrics.record(request, status, seconds=perf_counter() - began, key=resolved_model.get())
            connections.touch(connection)
            if body_memory.reserved_bytes:
                body_memory.release(connection)
        response.headers["X-Request-Id"] = request_id
        if in_flight.draining:
            response.force_close()  # so that a client with a pool of connections takes another
        return response

    return answer


def to_problem(error: Exception, request: web.Request, *, model_error_text: bool) -> errors.Problem:
    """What the client is told of `error`; the log is told the rest."""
    problem = errors.to_problem(error, model_error_text=model_error_text)
    if problem is None:
        problem = errors.internal_error()
        request.app[keys.TALLY].increment(INTERNAL_ERRORS, "request")
        logger.error("unexpected error", exc_info=error, extra=_request_fields(request))
    elif problem.status >= 500 or problem.status == 424:
        _log_failure(request, error, problem.status)
    return problem


def _log_failure(request: web.Request, error: Exception, status: int) -> None:
    where, reason = _request_fields(request), _reason(error)
    more: dict[str, object] = dict(_worker_log_fields(error))
    if status == _SERVICE_UNAVAILABLE:
        kept_back = request.app[keys.COMPLAINTS].suppressed_if_due(
            (where["route"], where["model"], type(error))
        )
        if kept_back is None:
            return
        if kept_back:
            more["alike_since_the_last"] = kept_back
    logger.warning("request failed", extra={**where, "status": status, "reason": reason, **more})


def _error_response(request: web.Request, request_id: str, problem: errors.Problem) -> web.Response:
    response = problem.response(request_id, request.path)
    if request.can_read_body and not request.content.is_eof():
        response.force_close()  # what is left of the body is not worth reading
    return response


def _request_fields(request: web.Request) -> dict[str, object]:
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "none"
    model = "/".join(request.match_info[part] for part in ("name", "version") if part in request.match_info)
    return {"request_id": logs.request_id.get(), "route": f"{request.method} {route}", "model": model}


def _reason(error: Exception) -> str:
    """For the operator: the error and, of a model's own exception, its text."""
    text = error.text if isinstance(error, ModelError) else ""
    return f"{type(error).__name__}: {error}" + (f" ({text})" if text else "")


def _worker_log_fields(error: Exception) -> dict[str, str]:
    """What a model's worker wrote for the operator alone: usually the trace. The pool logs failed loads."""
    return {"log": error.log} if isinstance(error, ModelError) and error.log else {}
