"""Principals with limits, for tests of what they are used for."""

from __future__ import annotations

from gateway.auth.principal import Principal
from gateway.auth.rights import ALL_RIGHTS
from gateway.domain.limits import Limits, parse_rate


def principal(
    name: str,
    *,
    rate: str | None = None,
    burst: int | None = None,
    concurrent: int | None = None,
    max_body_bytes: int | None = None,
    configured: bool = True,
) -> Principal:
    """Return the holder of an API key with all rights and these limits."""
    limits = Limits(parse_rate(rate) if rate else None, burst, concurrent, max_body_bytes)
    return Principal(name, "keys", ALL_RIGHTS, limits, configured)
