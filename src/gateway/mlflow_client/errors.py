"""Translates MLflow's errors to the gateway's errors; the messages say what the operator can do.

BadUpstreamResponse
├── RequestRejected     MLflow understood the request and rejected it, with an error code of its own
├── NotAuthenticated    MLflow does not accept the credentials (401)
├── NotPermitted        MLflow does not permit this to the user of the credentials (403)
├── Redirected          the address leads to another one, perhaps to a page that asks for credentials
└── EndpointNotFound    the server does not have this endpoint: it is an older MLflow, or not an MLflow
"""

from __future__ import annotations

import aiohttp
import orjson

from gateway.errors import BadUpstreamResponse, GatewayError, NotFound, UpstreamTimeout, UpstreamUnavailable

RETRYABLE_STATUSES = frozenset({429, 502, 503, 504})
"""The statuses after which a retry of the same request may succeed."""

_TOO_LONG_STATUSES = frozenset({414, 431})
_INVALID_STATUSES = frozenset({400, 422})
_NOT_FOUND_CODES = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"})
_CREDENTIALS = (
    "MLflow does not accept the gateway's credentials (401): set MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."
)
_HOST = (
    "MLflow does not accept the host name of the request (403): "
    "add it to MLFLOW_SERVER_ALLOWED_HOSTS of the MLflow server."
)
_ARTIFACTS_NOT_SERVED = (
    "The MLflow server does not serve artifacts (503): start it with --serve-artifacts, "
    "or with an artifact location that the gateway can read itself."
)
_TLS = (
    "MLflow's certificate is not trusted: set MLFLOW_TRACKING_SERVER_CERT_PATH to the trusted certificates."
)
_REDIRECT = "MLflow's address redirects ({status}): MLFLOW_TRACKING_URI must name the final address."
_STATUS_MESSAGES = {401: _CREDENTIALS, 403: "MLflow does not permit this to the gateway's account (403)."}
_PERMISSION_DENIED = b"Permission denied"  # MLflow's own answer, as text/html
_HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})


class RequestRejected(BadUpstreamResponse):
    """MLflow rejected the request; `code` is MLflow's error code, for example INVALID_PARAMETER_VALUE.

    `invalid` is True if it rejected the parameters, not, for example, the gateway's account.
    """

    def __init__(self, message: str, *, code: str, invalid: bool = True) -> None:
        super().__init__(message)
        self.code = code
        self.invalid = invalid


class NotAuthenticated(BadUpstreamResponse):
    """MLflow does not accept the credentials of the call."""


class NotPermitted(BadUpstreamResponse):
    """MLflow does not permit this to the user whose credentials the call has."""


class Redirected(BadUpstreamResponse):
    """The address leads to another one, which is not followed."""


class EndpointNotFound(BadUpstreamResponse):
    """The server does not have this endpoint."""


_CLASSES = {401: NotAuthenticated, 403: NotPermitted}


def error_for_response(status: int, *, media_type: str, body: bytes) -> GatewayError:
    """Return the error for a response with a status of 300 or more."""
    if status < 400:
        return Redirected(_REDIRECT.format(status=status))
    code = _error_code(body) if media_type == "application/json" else ""
    if code and status != 401:
        return _error_for_code(status, code)
    if status in {404, *_TOO_LONG_STATUSES}:
        return _error_for_address(status)
    is_page = media_type in _HTML_TYPES and body.strip() != _PERMISSION_DENIED
    if is_page and status not in {401, *RETRYABLE_STATUSES} - {502}:
        text = f"MLflow, or a proxy in front of it, answered with a web page ({status})."
        return NotPermitted(text) if status == 403 else BadUpstreamResponse(text)
    if b"serve-artifacts" in body:
        return BadUpstreamResponse(_ARTIFACTS_NOT_SERVED)
    return BadUpstreamResponse(_HOST) if b"Invalid Host" in body else _error_for_status(status)


def _error_for_address(status: int) -> GatewayError:
    if status in _TOO_LONG_STATUSES:
        text = f"The request is too long for MLflow, or for a proxy in front of it ({status})."
        return RequestRejected(text, code="TOO_LONG")
    return EndpointNotFound(
        "The server does not have this endpoint: MLFLOW_TRACKING_URI must name an MLflow server."
    )


def _error_code(body: bytes) -> str:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    code = parsed.get("error_code") if isinstance(parsed, dict) else None
    return code if isinstance(code, str) else ""


def _error_for_code(status: int, code: str) -> GatewayError:
    if code in _NOT_FOUND_CODES:
        return NotFound("MLflow has nothing with this name.")
    if code == "ENDPOINT_NOT_FOUND":
        return EndpointNotFound("The MLflow server does not have this endpoint.")
    if status < 500 and status != 429:
        text = f"MLflow rejected the request ({status} {code})."
        return RequestRejected(text, code=code, invalid=status in _INVALID_STATUSES)
    return _error_for_status(status)


def _error_for_status(status: int) -> GatewayError:
    if status in {429, 503}:
        return UpstreamUnavailable(f"MLflow is overloaded or unavailable ({status}).")
    if status == 504:
        return UpstreamTimeout("A proxy in front of MLflow waited too long for it (504).")
    text = _STATUS_MESSAGES.get(status, f"MLflow answered with an error ({status}).")
    return _CLASSES.get(status, BadUpstreamResponse)(text)


def translate_error(error: aiohttp.ClientError | TimeoutError) -> GatewayError:
    """Return the gateway's error for an error of aiohttp."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return BadUpstreamResponse(_TLS)
    if isinstance(error, aiohttp.ClientSSLError):
        return BadUpstreamResponse(
            "The TLS handshake with MLflow failed: check whether its address is http or https."
        )
    if isinstance(error, TimeoutError):
        return UpstreamTimeout("MLflow did not answer in time.")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return UpstreamUnavailable("MLflow's host name cannot be resolved: check MLFLOW_TRACKING_URI.")
    if isinstance(error, aiohttp.ClientConnectionError):
        return UpstreamUnavailable("MLflow cannot be reached.")
    return BadUpstreamResponse("MLflow's response was cut off or is not HTTP.")


def is_transient(error: aiohttp.ClientError) -> bool:
    """Return whether a retry can succeed."""
    if isinstance(error, TimeoutError | aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError):
        return False
    return isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError)
