"""Refusals of what is beyond a principal's limits, and their count."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from gateway.auth.errors import LimitExceeded
from workers.metrics import CounterSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.auth.errors import LimitKind
    from gateway.auth.principal import Principal
    from workers.metrics import Counters

RATE_LIMITED: Final = CounterSpec(
    "rate_limited",
    "Requests refused with 429, by limit: rate, concurrent (requests in progress), loads (models being"
    " loaded), failures (wrong passwords or tokens) or waiting (for MLflow to check credentials or rights)."
    " The principal is the id of an API key or another that the operator wrote down, else other.",
    ("principal", "limit"),
)
_OTHER: Final = "other"


def refuse(
    limit: LimitKind,
    message: str,
    *,
    principal: Principal,
    counters: Counters,
    wait_seconds: float,
    rate_headers: Mapping[str, str] | None = None,
) -> LimitExceeded:
    """Count a refusal, and return its error."""
    counters.increment(RATE_LIMITED, str(principal) if principal.configured else _OTHER, limit)
    return LimitExceeded(
        message,
        limit=limit,
        wait_seconds=wait_seconds,
        source=principal.source,
        rate_headers=rate_headers,
    )


@contextmanager
def counted_refusals(counters: Counters) -> Iterator[None]:
    """Count a LimitExceeded that leaves the block, for a caller that the operator did not write down.

    It is for what may be raised in work that several requests share: each of them is refused.
    """
    try:
        yield
    except LimitExceeded as error:
        counters.increment(RATE_LIMITED, _OTHER, error.limit)
        raise
