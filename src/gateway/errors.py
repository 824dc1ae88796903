"""How finding and fetching a model can fail; what each means for HTTP is not decided here.

GatewayError
├── NotFound            no such model, version or alias
├── BadRequest          a query parameter is wrong
├── NotServable         the version is not READY, has no model, or is a prompt
├── TooManyRuns         an experiment has more runs than are read of one
├── BestUndecided       `best` cannot be decided from what MLflow knows
├── ArtifactsRefused    the version's location is not one the operator allows
├── ArtifactsGone       the version's files are not where MLflow says they are
├── UpstreamWrong       MLflow or the artifact store answered something it should not
├── UpstreamAway        MLflow or the artifact store cannot be reached
├── UpstreamSlow        MLflow or the artifact store did not answer in time
├── CacheFull           the artifact cache has no room left
└── CacheUnusable       the artifact cache's folder cannot be read or written
"""

from __future__ import annotations

from typing import Final

from workers.metrics import CounterSpec

INTERNAL_ERRORS: Final = CounterSpec(
    "unexpected_errors",
    "Errors that nothing was prepared for, by where: a request, a task of the gateway's own, the event loop.",
    ("where",),
)


class GatewayError(Exception):
    """Base of all; `str(error)` is safe to show to a client: no path, no secret, no trace."""


class NotFound(GatewayError):
    """No model, version or alias of that name."""


class BadRequest(GatewayError):
    """A query parameter is not of its form or out of range."""


class VersionNotServable(GatewayError):
    """The version exists, but there is nothing in it that could predict now."""


class TooManyRuns(GatewayError):
    """The experiment has more runs than are read of one, so that they have no numbers here."""


class BestMetricUndecided(GatewayError):
    """No metric or no order could be chosen; the message names the metrics there are."""


class ArtifactLocationForbidden(GatewayError):
    """The version's files lie where the operator does not allow reading."""


class ArtifactsNotFound(GatewayError):
    """The version's files are missing from their store."""


class BadUpstreamResponse(GatewayError):
    """A server that we depend on answered something that we cannot use."""


class UpstreamUnavailable(GatewayError):
    """A server that we depend on cannot be reached."""


class UpstreamTimeout(GatewayError):
    """A server that we depend on did not answer in time."""


class CacheFull(GatewayError):
    """The artifact cache cannot take the version's files."""


class CacheUnusable(GatewayError):
    """The artifact cache's folder cannot be read or written."""


_KINDS: Final = {
    ArtifactLocationForbidden: "refused",
    ArtifactsNotFound: "gone",
    BadUpstreamResponse: "wrong",
    UpstreamUnavailable: "away",
    UpstreamTimeout: "slow",
    CacheFull: "cache_full",
    CacheUnusable: "cache_unusable",
}


def error_kind(error: BaseException) -> str:
    """One word for the error's class, or that of the error it is a kind of; `failed` for all others."""
    return next((word for kind, word in _KINDS.items() if isinstance(error, kind)), "failed")
