"""The errors of finding and downloading a model; `gateway.api.errors` maps them to HTTP.

GatewayError
├── NotFound                     the model, version or alias does not exist
├── BadRequest                   a query parameter is wrong
├── VersionNotServable           the version is not READY, has no model, or is a prompt
├── TooManyRuns                  an experiment has more runs than the gateway reads
├── BestMetricUndecided          no metric or order for `best` is known
├── ArtifactLocationForbidden    the operator does not allow the location of the version's files
├── ArtifactsNotFound            the version's files do not exist at their location
├── BadUpstreamResponse          MLflow or the artifact store sent an unusable response
├── UpstreamUnavailable          MLflow or the artifact store cannot be reached
├── UpstreamTimeout              MLflow or the artifact store did not respond in time
├── EnvironmentRefused           no environment can be made of the version's requirements
├── EnvironmentUnfinished        the version's environment is still being built
├── CacheFull                    the artifact cache has no space for the version's files
└── CacheUnusable                the artifact cache's folder cannot be read or written
"""

from __future__ import annotations

from typing import Final

from workers.metrics import CounterSpec

INTERNAL_ERRORS: Final = CounterSpec(
    "internal_errors",
    "Errors that the gateway has no handling for, by component: request, a background task, or event loop.",
    ("component",),
)


class GatewayError(Exception):
    """The base class; `str(error)` is safe to send to a client: no path, no secret, no traceback."""


class NotFound(GatewayError):
    """The model, version or alias does not exist."""


class BadRequest(GatewayError):
    """A query parameter is malformed or out of range."""


class VersionNotServable(GatewayError):
    """The version exists, but cannot predict."""


class TooManyRuns(GatewayError):
    """The experiment has more runs than the gateway reads, so that they cannot be numbered."""


class BestMetricUndecided(GatewayError):
    """No metric or order for `best` could be chosen; the message names the available metrics."""


class ArtifactLocationForbidden(GatewayError):
    """The version's files are at a location that the operator does not allow."""


class ArtifactsNotFound(GatewayError):
    """The version's files do not exist in their store."""


class BadUpstreamResponse(GatewayError):
    """MLflow or the artifact store sent a response that the gateway cannot use."""


class UpstreamUnavailable(GatewayError):
    """MLflow or the artifact store cannot be reached."""


class UpstreamTimeout(GatewayError):
    """MLflow or the artifact store did not respond in time."""


class EnvironmentRefused(GatewayError):
    """No environment can be made of the version's requirements on this machine; the message says why."""


class EnvironmentUnfinished(GatewayError):
    """The version's environment is being built, and takes longer than a request waits."""


class CacheFull(GatewayError):
    """The artifact cache has no space for the version's files."""


class CacheUnusable(GatewayError):
    """The artifact cache's folder cannot be read or written."""


_KINDS: Final = {
    ArtifactLocationForbidden: "forbidden",
    ArtifactsNotFound: "not_found",
    BadUpstreamResponse: "bad_response",
    UpstreamUnavailable: "unavailable",
    UpstreamTimeout: "timeout",
    EnvironmentRefused: "refused",
    CacheFull: "cache_full",
    CacheUnusable: "cache_unusable",
}


def error_kind(error: BaseException) -> str:
    """Return the metric label for the error's class or base class; `failed` for all others."""
    return next((label for kind, label in _KINDS.items() if isinstance(error, kind)), "failed")
