"""Refusals; `gateway.api.errors` maps them to HTTP."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from gateway.errors import GatewayError, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

LimitKind = Literal["rate", "concurrent", "loads", "failures", "waiting"]


class AuthError(GatewayError):
    """The base class; `str(error)` is safe to send to a client.

    `source` and `outcome` are the labels of the metric.
    """

    outcome = "refused"

    def __init__(self, message: str, *, source: str = "none") -> None:
        super().__init__(message)
        self.source = source


class Unauthenticated(AuthError):
    """The request has no credentials, or wrong ones; `reason` says of a token what is wrong with it.

    `challenges` are the values of `WWW-Authenticate`, which say what credentials would be right.
    """

    outcome = "unauthenticated"
    challenges: tuple[str, ...] = ()

    def __init__(self, message: str, *, source: str = "none", reason: str = "") -> None:
        super().__init__(message, source=source)
        self.reason = reason


class AmbiguousCredentials(AuthError):
    """The request has more than one credential, or one that cannot be read."""

    outcome = "ambiguous"


class PermissionDenied(AuthError):
    """The principal may not do this, and may know that it could be done."""

    outcome = "denied"


class NotVisible(NotFound):
    """The principal may not see this model, if there is one: both look alike to it."""

    outcome = "denied"


class LimitExceeded(AuthError):
    """The principal asks for more than its limits; a retry makes sense after `wait_seconds`.

    `limit` says which: requests in a time, requests in progress, models being loaded, wrong credentials, or
    callers that wait for MLflow to be asked about them. `rate_headers` are the response's headers about the
    rate.
    """

    outcome = "limited"

    def __init__(
        self,
        message: str,
        *,
        wait_seconds: float,
        source: str = "none",
        limit: LimitKind = "rate",
        rate_headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, source=source)
        self.wait_seconds = wait_seconds
        self.limit = limit
        self.rate_headers = rate_headers or {}

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the response: `rate_headers`, and the whole seconds until a retry, at least one."""
        return {"Retry-After": str(max(1, math.ceil(self.wait_seconds))), **self.rate_headers}


class AuthUnavailable(AuthError):
    """What knows the credentials or the rights, the issuer or MLflow, cannot be asked now."""

    outcome = "unavailable"
