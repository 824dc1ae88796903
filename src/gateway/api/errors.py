"""The one table from error class to HTTP status, and the one shape of an error's body."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import orjson
from aiohttp import web

from gateway import errors as gateway
from gateway.concurrency.singleflight import SingleFlightClosed
from workers import errors as workers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workers.protocol.messages import InputProblem

_MIN_RETRY_SECONDS: Final = 1
_MAX_RETRY_SECONDS: Final = 30
_V2_PREFIX: Final = "/v2"

_STATUS_BY_ERROR: Final[Mapping[type[Exception], tuple[int, str]]] = {
    gateway.BadRequest: (400, "INVALID_PARAMETER_VALUE"),
    gateway.NotFound: (404, "RESOURCE_DOES_NOT_EXIST"),
    gateway.VersionNotServable: (409, "RESOURCE_CONFLICT"),
    gateway.TooManyRuns: (409, "RESOURCE_LIMIT_EXCEEDED"),
    gateway.BestMetricUndecided: (422, "INVALID_PARAMETER_VALUE"),
    gateway.ArtifactLocationForbidden: (424, "PERMISSION_DENIED"),
    gateway.ArtifactsNotFound: (424, "INVALID_STATE"),
    gateway.BadUpstreamResponse: (502, "UNPARSEABLE_HTTP_ERROR"),
    gateway.UpstreamUnavailable: (503, "TEMPORARILY_UNAVAILABLE"),
    gateway.UpstreamTimeout: (504, "DEADLINE_EXCEEDED"),
    gateway.CacheFull: (503, "TEMPORARILY_UNAVAILABLE"),
    gateway.CacheUnusable: (503, "TEMPORARILY_UNAVAILABLE"),
    workers.InvalidInput: (400, "INVALID_PARAMETER_VALUE"),
    workers.UnsupportedMediaType: (415, "INVALID_PARAMETER_VALUE"),
    workers.NotAcceptable: (406, "BAD_REQUEST"),
    workers.StreamingNotSupported: (406, "BAD_REQUEST"),
    workers.ModelError: (500, "MODEL_ERROR"),
    workers.ModelLoadError: (424, "INVALID_STATE"),
    workers.WorkerCrashed: (500, "MODEL_ERROR"),
    workers.PredictionTimeout: (504, "DEADLINE_EXCEEDED"),
    workers.QueueFull: (503, "TEMPORARILY_UNAVAILABLE"),
    workers.SystemResourcesExhausted: (503, "TEMPORARILY_UNAVAILABLE"),
    workers.CapacityExceeded: (503, "TEMPORARILY_UNAVAILABLE"),
    workers.ModelNotLoaded: (503, "TEMPORARILY_UNAVAILABLE"),
    workers.ModelPinned: (409, "RESOURCE_CONFLICT"),
    workers.PoolClosed: (503, "TEMPORARILY_UNAVAILABLE"),
    SingleFlightClosed: (503, "TEMPORARILY_UNAVAILABLE"),
}

_HTTP_PROBLEMS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("BAD_REQUEST", "The request is not valid HTTP."),
    404: ("ENDPOINT_NOT_FOUND", "There is no such route; GET /docs shows those there are."),
    405: ("BAD_REQUEST", "This route does not take this method; the header Allow names those it takes."),
    413: ("RESOURCE_LIMIT_EXCEEDED", "The body is larger than this gateway takes."),
}


class HttpError(Exception):
    """A request refused for what its HTTP says, before any model is asked; the text is for the client."""

    def __init__(self, status: int, code: str, *, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as HTTP tells it."""

    status: int
    code: str
    message: str
    details: tuple[InputProblem, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, request_id: str) -> bytes:
        """MLflow's code, the message, the request's id, and the cells that were wrong."""
        body: dict[str, object] = {"error_code": self.code, "message": self.message, "request_id": request_id}
        if self.details:
            body["details"] = [{"row": c.row, "column": c.column, "reason": c.reason} for c in self.details]
        return orjson.dumps(body)

    def response(self, request_id: str, path: str) -> web.Response:
        """The answer, in the form of the protocol that the request's path belongs to."""
        headers = {**self.headers, "Content-Type": "application/json", "X-Request-Id": request_id}
        is_open_inference = path == _V2_PREFIX or path.startswith(f"{_V2_PREFIX}/")
        body = orjson.dumps({"error": self._full_message()}) if is_open_inference else self.body(request_id)
        return web.Response(status=self.status, body=body, headers=headers)

    def _full_message(self) -> str:
        """The message, and the cells beside the first one, which the message itself names."""
        more = [
            f"{'' if cell.column is None else f'column {cell.column!r}, '}"
            f"{'' if cell.row is None else f'row {cell.row}, '}{cell.reason}"
            for cell in self.details[1:]
        ]
        return f"{self.message} Also: {'; '.join(more)}." if more else self.message


def to_problem(error: Exception, *, model_error_text: bool) -> Problem | None:
    """What `error` means for the client, None where the table does not know it (a fault of ours).

    The text of a model's own exception is told only where `model_error_text` allows it.
    """
    if isinstance(error, HttpError):
        return Problem(error.status, error.code, str(error), headers=_headers(error, error.status))
    if isinstance(error, web.HTTPException):
        return _from_http_exception(error)
    for kind in type(error).__mro__:
        if kind in _STATUS_BY_ERROR:
            status, code = _STATUS_BY_ERROR[kind]
            message = _message(error, model_error_text)
            return Problem(status, code, message, _details(error), _headers(error, status))
    return None


def internal_error() -> Problem:
    """What a client is told of a fault of ours: nothing but where to look."""
    return Problem(
        500, "INTERNAL_ERROR", "The gateway failed on this request; its log has more under the request id."
    )


def _from_http_exception(error: web.HTTPException) -> Problem:
    code, message = _HTTP_PROBLEMS.get(error.status, ("BAD_REQUEST", f"{error.reason}."))
    if isinstance(error, web.HTTPMethodNotAllowed):
        return Problem(error.status, code, message, headers={"Allow": error.headers["Allow"]})
    return Problem(error.status, code, message)


def _message(error: Exception, model_error_text: bool) -> str:
    if model_error_text and isinstance(error, workers.ModelError) and error.text:
        return f"{error} {error.text}"
    return str(error)


def _details(error: Exception) -> tuple[InputProblem, ...]:
    return error.details if isinstance(error, workers.InvalidInput) else ()


def _headers(error: Exception, status: int) -> Mapping[str, str]:
    return {"Retry-After": _retry_after(error)} if status == 503 else {}


def _retry_after(error: Exception) -> str:
    """When to try again, in whole seconds: half of what waits will be done by then."""
    seconds = error.wait_seconds / 2 if isinstance(error, workers.QueueFull) else 0.0
    return str(min(_MAX_RETRY_SECONDS, max(_MIN_RETRY_SECONDS, round(seconds))))
