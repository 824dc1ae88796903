"""Why a token is refused."""

from __future__ import annotations

from typing import Literal

from gateway.auth.errors import Unauthenticated

Reason = Literal[
    "malformed",
    "algorithm not accepted",
    "unknown key",
    "bad signature",
    "expired",
    "not yet valid",
    "wrong audience",
    "wrong issuer",
    "unusable claims",
]


def refusal(reason: Reason) -> Unauthenticated:
    """Return the error; all that its text tells is the reason."""
    return Unauthenticated(f"The token is not valid: {reason}.", source="jwt", reason=reason)
