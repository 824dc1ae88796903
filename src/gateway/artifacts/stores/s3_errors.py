"""Translates errors of S3 and botocore to the gateway's errors."""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore import exceptions as s3

from gateway.artifacts.stores.base import ArtifactFileNotFound
from gateway.errors import (
    ArtifactLocationForbidden,
    ArtifactsNotFound,
    BadUpstreamResponse,
    GatewayError,
    UpstreamTimeout,
    UpstreamUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

_CREDENTIALS_HINT = (
    "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, MLFLOW_S3_ENDPOINT_URL "
    "and the permissions of these credentials"
)
_CHAIN_HINT = "check the AWS_ settings, AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE and the log"
_REGION_HINT = "check AWS_DEFAULT_REGION and MLFLOW_S3_ENDPOINT_URL"
_MAX_CAUSE_CHARS = 1000
_ACCESS_DENIED_CODES = frozenset(
    {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
)
_WRONG_REGION_CODES = frozenset(
    {"301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
_UNAVAILABLE_CODES = frozenset({"500", "502", "503", "InternalError", "ServiceUnavailable", "SlowDown"})

_TLS_MESSAGE = (
    "The S3 store's TLS certificate is not trusted: check AWS_CA_BUNDLE, MLFLOW_S3_IGNORE_TLS "
    "and MLFLOW_S3_ENDPOINT_URL."
)
# The first match counts: in botocore, timeouts and TLS errors are subclasses of connection errors.
_TRANSPORT_ERRORS: tuple[tuple[tuple[type[Exception], ...], type[GatewayError], str], ...] = (
    (
        (s3.NoCredentialsError, s3.PartialCredentialsError),
        BadUpstreamResponse,
        f"There are no usable credentials for the S3 store: {_CREDENTIALS_HINT}.",
    ),
    (
        (
            s3.CredentialRetrievalError,
            s3.MetadataRetrievalError,
            s3.TokenRetrievalError,
            s3.NoAuthTokenError,
            s3.SSOError,
            s3.LoginError,
            s3.RefreshWithMFAUnsupportedError,
            s3.MissingDependencyException,
        ),
        BadUpstreamResponse,
        f"The credentials for the S3 store could not be obtained: {_CHAIN_HINT}.",
    ),
    (
        (
            s3.ProfileNotFound,
            s3.ConfigParseError,
            s3.ConfigNotFound,
            s3.InvalidConfigError,
            s3.UnknownCredentialError,
            s3.InvalidIMDSEndpointError,
            s3.InvalidIMDSEndpointModeError,
        ),
        BadUpstreamResponse,
        f"AWS' configuration for the S3 store is wrong: {_CHAIN_HINT}.",
    ),
    (
        (s3.NoRegionError, s3.InvalidRegionError),
        BadUpstreamResponse,
        f"The S3 store's region is missing or wrong: {_REGION_HINT}.",
    ),
    ((s3.SSLError,), BadUpstreamResponse, _TLS_MESSAGE),
    (
        (s3.ConnectTimeoutError, s3.ReadTimeoutError),
        UpstreamTimeout,
        "The S3 store did not answer in time.",
    ),
    (
        (s3.ResponseStreamingError, s3.IncompleteReadError),
        BadUpstreamResponse,
        "The S3 store closed the connection in the middle of a file.",
    ),
    (
        (s3.FlexibleChecksumError,),
        BadUpstreamResponse,
        "A file from the S3 store does not match its checksum.",
    ),
    (
        (s3.ParamValidationError,),
        ArtifactLocationForbidden,
        "This version's location is not a valid S3 location of the form s3://bucket/folder.",
    ),
    (
        (s3.ConnectionError, s3.ConnectionClosedError, s3.HTTPClientError),
        UpstreamUnavailable,
        "The S3 store cannot be reached: check MLFLOW_S3_ENDPOINT_URL and whether the store is up.",
    ),
)


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise every error of S3, botocore and its HTTP library as an error of `gateway.errors`."""
    try:
        yield
    except s3.ClientError as error:
        raise _from_client_error(error) from error
    except s3.BotoCoreError as error:
        raise _from_transport_error(error) from error
    except TimeoutError as error:
        raise UpstreamTimeout("The S3 store did not answer in time.") from error
    except Exception as error:
        # aiobotocore lets some errors of aiohttp through, which this module must not import.
        if type(error).__module__.partition(".")[0] == "aiohttp":
            raise BadUpstreamResponse(
                "The S3 store closed the connection in the middle of a response."
            ) from error
        if not isinstance(error, (OSError, ValueError, LookupError, TypeError, AttributeError)):
            raise
        # Such errors come from what botocore does not check: the output of a `credential_process`, the
        # answer of a metadata service, a token file that does not exist, an endpoint that is no address.
        raise _log_and_translate(error, f"The S3 store could not be used: {_CHAIN_HINT}.") from error


def _from_client_error(error: s3.ClientError) -> GatewayError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code in {"NoSuchKey", "404"}:
        return ArtifactFileNotFound("A file of this version does not exist in the S3 store.")
    if code == "NoSuchBucket":
        return ArtifactsNotFound("The bucket of this version's files does not exist in the S3 store.")
    if code in _UNAVAILABLE_CODES:
        return UpstreamUnavailable(f"The S3 store is unavailable: {code}.")
    if code == "RequestTimeout":
        return UpstreamTimeout("The S3 store did not answer in time.")
    hint = (
        _CREDENTIALS_HINT
        if code in _ACCESS_DENIED_CODES
        else _REGION_HINT
        if code in _WRONG_REGION_CODES
        else "see the log"
    )
    shown = code if re.fullmatch(r"[A-Za-z0-9.]{1,64}", code) else "an unknown error"
    return BadUpstreamResponse(f"The S3 store answered with {shown}: {hint}.")


def _from_transport_error(error: s3.BotoCoreError) -> GatewayError:
    for botocore_types, gateway_type, text in _TRANSPORT_ERRORS:
        if isinstance(error, botocore_types):
            if _CHAIN_HINT in text:
                return _log_and_translate(error, text)
            return gateway_type(text)
    return _log_and_translate(error, "The S3 store could not be used; see the log.")


def _log_and_translate(error: Exception, text: str) -> BadUpstreamResponse:
    """Return the error for clients, and log the cause, which may have paths or the output of a program."""
    extra = {"event": "s3_unusable", "cause": f"{type(error).__name__}: {error}"[:_MAX_CAUSE_CHARS]}
    logger.warning("%s", text, extra=extra)
    return BadUpstreamResponse(text)
