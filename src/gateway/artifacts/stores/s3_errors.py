"""What S3's and botocore's errors mean to the gateway."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore import exceptions as s3

from gateway.artifacts.stores.base import FileGone
from gateway.errors import (
    ArtifactsGone,
    ArtifactsRefused,
    GatewayError,
    UpstreamAway,
    UpstreamSlow,
    UpstreamWrong,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_CREDENTIALS = (
    "look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, MLFLOW_S3_ENDPOINT_URL "
    "and what these credentials may read"
)
_REGION = "look at AWS_DEFAULT_REGION and MLFLOW_S3_ENDPOINT_URL"
_REFUSED = frozenset(
    {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
)
_ELSEWHERE = frozenset(
    {"301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
_BUSY = frozenset({"500", "502", "503", "InternalError", "ServiceUnavailable", "SlowDown"})

_TLS = (
    "The S3 store's TLS certificate was not accepted: look at AWS_CA_BUNDLE, MLFLOW_S3_IGNORE_TLS "
    "and MLFLOW_S3_ENDPOINT_URL."
)
# The first that fits counts: botocore's tree puts timeouts and TLS below connection errors.
_TRANSPORT: tuple[tuple[tuple[type[Exception], ...], type[GatewayError], str], ...] = (
    (
        (s3.NoCredentialsError, s3.PartialCredentialsError, s3.CredentialRetrievalError),
        UpstreamWrong,
        f"There are no usable credentials for the S3 store: {_CREDENTIALS}.",
    ),
    ((s3.SSLError,), UpstreamWrong, _TLS),
    (
        (s3.ConnectTimeoutError, s3.ReadTimeoutError),
        UpstreamSlow,
        "The S3 store did not answer in time.",
    ),
    (
        (s3.ResponseStreamingError, s3.IncompleteReadError),
        UpstreamWrong,
        "The S3 store broke off in the middle of a file.",
    ),
    (
        (s3.FlexibleChecksumError,),
        UpstreamWrong,
        "A file from the S3 store does not have the checksum it should.",
    ),
    (
        (s3.ParamValidationError,),
        ArtifactsRefused,
        "This version's location is not a valid S3 location: s3://bucket/folder would be right.",
    ),
    (
        (s3.ConnectionError, s3.ConnectionClosedError, s3.HTTPClientError),
        UpstreamAway,
        "The S3 store cannot be reached: look at MLFLOW_S3_ENDPOINT_URL and whether it is up.",
    ),
)


@contextmanager
def translated() -> Iterator[None]:
    """Raise every error of S3, botocore and the HTTP library below it as one of `gateway.errors`."""
    try:
        yield
    except s3.ClientError as error:
        raise _of_reply(error) from error
    except s3.BotoCoreError as error:
        raise _of_transport(error) from error
    except TimeoutError as error:
        raise UpstreamSlow("The S3 store did not answer in time.") from error
    except Exception as error:
        # aiobotocore lets some errors of the HTTP client through, which is not to be imported here.
        if type(error).__module__.partition(".")[0] != "aiohttp":
            raise
        raise UpstreamWrong("The S3 store broke off in the middle of an answer.") from error


def _of_reply(error: s3.ClientError) -> GatewayError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code in {"NoSuchKey", "404"}:
        return FileGone("A file of this version is not in the S3 store.")
    if code == "NoSuchBucket":
        return ArtifactsGone("The bucket of this version's files is not in the S3 store.")
    if code in _BUSY:
        return UpstreamAway(f"The S3 store cannot answer now: {code}.")
    if code == "RequestTimeout":
        return UpstreamSlow("The S3 store did not answer in time.")
    advice = _CREDENTIALS if code in _REFUSED else _REGION if code in _ELSEWHERE else "the log may tell more"
    shown = code if re.fullmatch(r"[A-Za-z0-9.]{1,64}", code) else "an error of no known form"
    return UpstreamWrong(f"The S3 store answered {shown}: {advice}.")


def _of_transport(error: s3.BotoCoreError) -> GatewayError:
    for kinds, meaning, text in _TRANSPORT:
        if isinstance(error, kinds):
            return meaning(text)
    return UpstreamWrong("The S3 store could not be used; the log tells why.")
