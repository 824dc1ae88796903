"""What the client and what the operator learn of a request that failed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.api import errors
from gateway.auth.principal import ANYONE, current_principal
from gateway.errors import INTERNAL_ERRORS
from gateway.telemetry import logs
from workers.errors import ModelError

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.settings import CurrentSettings
    from gateway.system.log_throttle import LogThrottle
    from workers.metrics import Counters

logger = logging.getLogger(__name__)


class ErrorReporter:
    """A reporter that turns an error into the client's problem and into the operator's log line."""

    def __init__(self, settings: CurrentSettings, *, counters: Counters, log_throttle: LogThrottle) -> None:
        self._settings = settings
        self._counters = counters
        self._log_throttle = log_throttle

    def report(self, error: Exception, request: web.Request) -> errors.Problem:
        """Return what the client learns of `error`, and log what it does not learn.

        An error without an HTTP status is a fault of the gateway: it is counted and logged with its trace.
        """
        problem = errors.to_problem(error, model_error_text=self._settings.value.model_error_text)
        if problem is None:
            problem = errors.internal_error()
            self._counters.increment(INTERNAL_ERRORS, "request")
            fields = {"event": "internal_error", **_request_fields(request)}
            logger.error("Unexpected error", exc_info=error, extra=fields)
        elif problem.status >= 500 or problem.status == 424 or isinstance(error, ModelError):
            self._log_failure(error, request, problem.status)
        return problem

    def _log_failure(self, error: Exception, request: web.Request, status: int) -> None:
        fields: dict[str, object] = {"event": "request_failed", **_request_fields(request), "status": status}
        fields["reason"] = _reason(error)
        if isinstance(error, ModelError) and error.log:
            fields["log"] = error.log
        if status == 503:
            suppressed = self._log_throttle.suppressed_if_due((fields["route"], fields["model"], type(error)))
            if suppressed is None:
                return
            if suppressed:
                fields["suppressed"] = suppressed
        logger.warning("Request failed", extra=fields)


def _request_fields(request: web.Request) -> dict[str, object]:
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "none"
    model = "/".join(request.match_info[part] for part in ("name", "version") if part in request.match_info)
    fields: dict[str, object] = {
        "request_id": logs.request_id.get(),
        "route": f"{request.method} {route}",
        "model": model,
    }
    if (principal := current_principal.get()) is not ANYONE:
        fields["principal"] = str(principal)
    return fields


def _reason(error: Exception) -> str:
    """Return the error's type and message, and the text of the exception that a model raised."""
    text = error.text if isinstance(error, ModelError) else ""
    return f"{type(error).__name__}: {error}" + (f" ({text})" if text else "")
