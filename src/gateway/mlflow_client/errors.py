"""What goes wrong with MLflow, in the gateway's own terms; the texts say what the operator can do.

UpstreamWrong
├── RequestRejected    MLflow understood the call and refuses it, with a code of its own
└── EndpointNotFound    the server does not have this call: it is an older MLflow, or none
"""

from __future__ import annotations

import aiohttp
import orjson

from gateway.errors import BadUpstreamResponse, GatewayError, NotFound, UpstreamTimeout, UpstreamUnavailable

RETRYABLE_STATUSES = frozenset({429, 502, 503, 504})
"""The statuses after which the same question may well be answered."""

_NOT_FOUND_CODES = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"})
_CREDENTIALS = (
    "MLflow does not accept the gateway's credentials (401): set MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."
)
_HOST = (
    "MLflow does not accept the host name it was called by (403): "
    "name it in MLFLOW_SERVER_ALLOWED_HOSTS of the MLflow server."
)
_ARTIFACTS_NOT_SERVED = (
    "The MLflow server does not serve artifacts (503): start it with --serve-artifacts, "
    "or with an artifact location that the gateway can read itself."
)
_TLS = (
    "MLflow's certificate is not trusted: MLFLOW_TRACKING_SERVER_CERT_PATH names the certificates to trust."
)
_REDIRECT = "MLflow's address redirects ({status}): MLFLOW_TRACKING_URI must name the final address."
_STATUS_MESSAGES = {401: _CREDENTIALS, 403: "MLflow does not allow this to the gateway's account (403)."}
_HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})


class RequestRejected(BadUpstreamResponse):
    """MLflow refuses the call; `code` is MLflow's error code, for example INVALID_PARAMETER_VALUE."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class EndpointNotFound(BadUpstreamResponse):
    """The server has no such call."""


def error_for_response(status: int, *, media_type: str, body: bytes) -> GatewayError:
    """The error that a reply with a status of 300 or more stands for, read by its content type."""
    if status < 400:
        return BadUpstreamResponse(_REDIRECT.format(status=status))
    code = _error_code(body) if media_type == "application/json" else ""
    if code and status != 401:
        return _error_for_code(status, code)
    if status == 404:
        return EndpointNotFound(
            "The server has no such call: MLFLOW_TRACKING_URI must name an MLflow server."
        )
    if media_type in _HTML_TYPES and status not in {401, *RETRYABLE_STATUSES} - {502}:
        return BadUpstreamResponse(f"MLflow, or a proxy before it, answered with a web page ({status}).")
    if b"serve-artifacts" in body:
        return BadUpstreamResponse(_ARTIFACTS_NOT_SERVED)
    return BadUpstreamResponse(_HOST) if b"Invalid Host" in body else _error_for_status(status)


def _error_code(body: bytes) -> str:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    code = parsed.get("error_code") if isinstance(parsed, dict) else None
    return code if isinstance(code, str) else ""


def _error_for_code(status: int, code: str) -> GatewayError:
    if code in _NOT_FOUND_CODES:
        return NotFound("MLflow knows nothing of that name.")
    if code == "ENDPOINT_NOT_FOUND":
        return EndpointNotFound("The MLflow server has no such call.")
    if status < 500 and status != 429:
        return RequestRejected(f"MLflow refuses the call ({status} {code}).", code=code)
    return _error_for_status(status)


def _error_for_status(status: int) -> GatewayError:
    if status in {429, 503}:
        return UpstreamUnavailable(f"MLflow is too busy or not available now ({status}).")
    if status == 504:
        return UpstreamTimeout("A proxy before MLflow waited too long for it (504).")
    text = _STATUS_MESSAGES.get(status, f"MLflow answered with an error of its own ({status}).")
    return BadUpstreamResponse(text)


def translate_error(error: aiohttp.ClientError | TimeoutError) -> GatewayError:
    """The gateway's error for one of aiohttp's."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return BadUpstreamResponse(_TLS)
    if isinstance(error, aiohttp.ClientSSLError):
        return BadUpstreamResponse(
            "MLflow's address does not speak TLS as the gateway does: check http or https."
        )
    if isinstance(error, TimeoutError):
        return UpstreamTimeout("MLflow did not answer in time.")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return UpstreamUnavailable("MLflow's host name is not known: check MLFLOW_TRACKING_URI.")
    if isinstance(error, aiohttp.ClientConnectionError):
        return UpstreamUnavailable("MLflow cannot be reached.")
    return BadUpstreamResponse("MLflow's answer broke off or is not HTTP.")


def is_transient(error: aiohttp.ClientError) -> bool:
    """Whether asking once more can help."""
    if isinstance(error, TimeoutError | aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError):
        return False
    return isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError)
