"""The table from error class to HTTP status, and the form of an error response."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import orjson
from aiohttp import web

from gateway import errors as gateway
from gateway.auth import errors as auth
from gateway.concurrency.singleflight import SingleFlightClosed
from workers import errors as workers
from workers.protocol.messages import MAX_COUNTED_PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from workers.protocol.messages import InputProblem

_MIN_RETRY_SECONDS: Final = 1
_MAX_RETRY_SECONDS: Final = 30
_ENVIRONMENT_RETRY_SECONDS: Final = 10
_V2_PREFIX: Final = "/v2"


class ModelRaised(workers.ModelError):
    """A ModelError in the terms of MLflow's scoring server, which answers 400.

    MLflow's own clients take 500 for an outage: `mlflow.deployments` sends such a request eight times.
    """


_STATUS_BY_ERROR: Final[Mapping[type[Exception], tuple[int, str]]] = {
    gateway.BadRequest: (400, "INVALID_PARAMETER_VALUE"),
    auth.AmbiguousCredentials: (400, "BAD_REQUEST"),
    auth.Unauthenticated: (401, "UNAUTHENTICATED"),
    auth.PermissionDenied: (403, "PERMISSION_DENIED"),
    auth.LimitExceeded: (429, "REQUEST_LIMIT_EXCEEDED"),
    auth.AuthUnavailable: (503, "TEMPORARILY_UNAVAILABLE"),
    gateway.NotFound: (404, "RESOURCE_DOES_NOT_EXIST"),
    gateway.VersionNotServable: (409, "RESOURCE_CONFLICT"),
    gateway.TooManyRuns: (409, "RESOURCE_LIMIT_EXCEEDED"),
    gateway.BestMetricUndecided: (422, "INVALID_PARAMETER_VALUE"),
    gateway.ArtifactLocationForbidden: (424, "PERMISSION_DENIED"),
    gateway.ArtifactsNotFound: (424, "INVALID_STATE"),
    gateway.BadUpstreamResponse: (502, "UNPARSEABLE_HTTP_ERROR"),
    gateway.UpstreamUnavailable: (503, "TEMPORARILY_UNAVAILABLE"),
    gateway.UpstreamTimeout: (504, "DEADLINE_EXCEEDED"),
    gateway.EnvironmentRefused: (424, "INVALID_STATE"),
    gateway.EnvironmentUnfinished: (503, "TEMPORARILY_UNAVAILABLE"),
    gateway.CacheFull: (503, "TEMPORARILY_UNAVAILABLE"),
    gateway.CacheUnusable: (503, "TEMPORARILY_UNAVAILABLE"),
    workers.InvalidInput: (400, "INVALID_PARAMETER_VALUE"),
    workers.UnsupportedMediaType: (415, "INVALID_PARAMETER_VALUE"),
    workers.NotAcceptable: (406, "BAD_REQUEST"),
    workers.StreamingNotSupported: (406, "BAD_REQUEST"),
    workers.ModelError: (500, "MODEL_ERROR"),
    ModelRaised: (400, "BAD_REQUEST"),
    workers.ModelLoadError: (424, "INVALID_STATE"),
    workers.WorkerCrashed: (500, "MODEL_ERROR"),
    workers.PredictionTimeout: (504, "DEADLINE_EXCEEDED"),
    workers.QueueFull: (503, "TEMPORARILY_UNAVAILABLE"),
    workers.AnswerMemoryExceeded: (503, "TEMPORARILY_UNAVAILABLE"),
    workers.SystemResourcesExhausted: (503, "TEMPORARILY_UNAVAILABLE"),
    workers.EnvironmentStartTimeout: (503, "TEMPORARILY_UNAVAILABLE"),
    workers.CapacityExceeded: (503, "TEMPORARILY_UNAVAILABLE"),
    workers.ModelNotLoaded: (503, "TEMPORARILY_UNAVAILABLE"),
    workers.NodeLost: (503, "TEMPORARILY_UNAVAILABLE"),
    workers.NoNodes: (503, "TEMPORARILY_UNAVAILABLE"),
    workers.ModelPinned: (409, "RESOURCE_CONFLICT"),
    workers.PoolClosed: (503, "TEMPORARILY_UNAVAILABLE"),
    SingleFlightClosed: (503, "TEMPORARILY_UNAVAILABLE"),
}

_HTTP_PROBLEMS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("BAD_REQUEST", "The request is not valid HTTP."),
    404: ("ENDPOINT_NOT_FOUND", "There is no such route; GET /docs lists all routes."),
    405: (
        "BAD_REQUEST",
        "This route does not support this method; the Allow header names those it supports.",
    ),
    413: ("RESOURCE_LIMIT_EXCEEDED", "The body is larger than the limit of this gateway."),
}


class HttpError(Exception):
    """An error of the HTTP request itself, raised before any model runs; the client gets the message."""

    def __init__(self, status: int, code: str, *, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Problem:
    """An error in HTTP's terms."""

    status: int
    code: str
    message: str
    details: tuple[InputProblem, ...] = ()
    details_total: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, request_id: str) -> bytes:
        """Return the JSON body: MLflow's error code, the message, the request id, and the wrong cells.

        `details_total` is how many cells are wrong; `details_total_exact` is false if there may be more.
        """
        body: dict[str, object] = {"error_code": self.code, "message": self.message, "request_id": request_id}
        if self.details:
            body["details"] = [
                {"row": cell.row, "column": cell.column, "reason": cell.reason} for cell in self.details
            ]
            body["details_total"] = min(self.details_total, MAX_COUNTED_PROBLEMS)
            if self.details_total > MAX_COUNTED_PROBLEMS:
                body["details_total_exact"] = False
        return orjson.dumps(body)

    def response(self, request_id: str, path: str) -> web.Response:
        """Return the response, in the form of the protocol that the request's path belongs to."""
        headers = {**self.headers, "Content-Type": "application/json", "X-Request-Id": request_id}
        is_open_inference = path == _V2_PREFIX or path.startswith(f"{_V2_PREFIX}/")
        body = orjson.dumps({"error": self._full_message()}) if is_open_inference else self.body(request_id)
        return web.Response(status=self.status, body=body, headers=headers)

    def _full_message(self) -> str:
        """Return the message and all wrong cells but the first one, which the message itself names."""
        others = [
            f"{'' if cell.column is None else f'column {cell.column!r}, '}"
            f"{'' if cell.row is None else f'row {cell.row}, '}{cell.reason}"
            for cell in self.details[1:]
        ]
        return f"{self.message} Also: {'; '.join(others)}." if others else self.message


def to_problem(error: Exception, *, model_error_text: bool) -> Problem | None:
    """Return the problem for `error`, or None if the table does not have it: then the gateway is at fault.

    The message contains the text of a model's own exception only if `model_error_text` is true.
    """
    if isinstance(error, HttpError):
        return Problem(error.status, error.code, str(error), headers=_headers(error, error.status))
    if isinstance(error, web.HTTPException):
        return _from_http_exception(error)
    for kind in type(error).__mro__:
        if kind in _STATUS_BY_ERROR:
            status, code = _STATUS_BY_ERROR[kind]
            message = _message(error, model_error_text)
            cells, total = _details(error)
            return Problem(status, code, message, cells, total, _headers(error, status))
    return None


def internal_error() -> Problem:
    """Return the problem for a fault of the gateway; it names nothing but the request id."""
    message = "The gateway failed on this request; its log has the details under the request id."
    return Problem(500, "INTERNAL_ERROR", message)


def _from_http_exception(error: web.HTTPException) -> Problem:
    code, message = _HTTP_PROBLEMS.get(error.status, ("BAD_REQUEST", f"{error.reason}."))
    if isinstance(error, web.HTTPMethodNotAllowed):
        return Problem(error.status, code, message, headers={"Allow": error.headers["Allow"]})
    return Problem(error.status, code, message)


def _message(error: Exception, model_error_text: bool) -> str:
    if model_error_text and isinstance(error, workers.ModelError) and error.text:
        return f"{error} {error.text}"
    return str(error)


def _details(error: Exception) -> tuple[tuple[InputProblem, ...], int]:
    """Return the wrong cells that the error names, and how many there are."""
    return (error.details, error.total) if isinstance(error, workers.InvalidInput) else ((), 0)


def _headers(error: Exception, status: int) -> Mapping[str, str]:
    if isinstance(error, auth.Unauthenticated):
        return {"WWW-Authenticate": ", ".join(_challenges(error))}
    if isinstance(error, auth.LimitExceeded):
        return error.headers
    return {"Retry-After": _retry_after(error)} if status == 503 else {}


def _challenges(error: auth.Unauthenticated) -> Iterator[str]:
    """Yield what credentials would be right, and by RFC 6750 what is wrong with a token that was sent."""
    for challenge in error.challenges:
        if error.reason and challenge.startswith("Bearer "):
            yield f'{challenge}, error="invalid_token", error_description="{error.reason}"'
        else:
            yield challenge


def _retry_after(error: Exception) -> str:
    """Return whole seconds until a retry: by then about half of the queue is done."""
    if isinstance(error, gateway.EnvironmentUnfinished):
        return str(_ENVIRONMENT_RETRY_SECONDS)
    seconds = error.wait_seconds / 2 if isinstance(error, workers.QueueFull) else 0.0
    return str(min(_MAX_RETRY_SECONDS, max(_MIN_RETRY_SECONDS, round(seconds))))
