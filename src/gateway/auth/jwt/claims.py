"""What the claims of a verified token say of its holder."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from gateway.auth.jwt.refusal import refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_GROUPS: Final = 1000
_MAX_GROUP_LENGTH: Final = 256
_MAX_SUBJECT_LENGTH: Final = 255  # OpenID Connect Core 1.0, section 2
_TIMES: Final = ("exp", "nbf", "iat")
_MAX_TIME: Final = 10**12  # seconds; adding to an integer of a thousand digits would fail
logger = logging.getLogger(__name__)

Claims = dict[str, Any]


def check_times(claims: Mapping[str, Any]) -> None:
    """Raise Unauthenticated if a time is not a number of seconds; PyJWT would accept texts and booleans."""
    for name in _TIMES:
        value = claims.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _MAX_TIME:
            raise refusal("malformed")


def read_subject(claims: Mapping[str, Any], name: str) -> str:
    """Return the claim `name`; raise Unauthenticated if it is not a text that may stand in a log.

    An e-mail address that the issuer has not verified is refused: its holder may have made it up.
    """
    subject = claims.get(name)
    if (
        not isinstance(subject, str)
        or not 0 < len(subject) <= _MAX_SUBJECT_LENGTH
        or not subject.isprintable()
        or subject.strip() != subject
    ):
        raise refusal("unusable claims")
    if name == "email" and claims.get("email_verified", True) is not True:
        raise refusal("unusable claims")
    return subject


def read_groups(claims: Claims, name: str) -> tuple[str, ...]:
    """Return the caller's groups: the texts of a list, or the words of one text; none if it is absent.

    Values that are no groups give no right, so they are left out, as are those after the first 1000.
    """
    value = find_claim(claims, name)
    if value is None:
        return ()
    if not isinstance(value, str | list):
        logger.debug("The claim %s is neither a list nor a text, so it names no groups", name)
        return ()
    values = value.split() if isinstance(value, str) else value
    # Interned: thousands of callers are in the same few groups.
    groups = (sys.intern(group) for group in values[:MAX_GROUPS] if _is_group(group))
    return tuple(dict.fromkeys(groups))


def find_claim(claims: Claims, name: str) -> object:
    """Return the claim `name`, else what a dotted path such as `realm_access.roles` leads to, else None.

    The parts of a path may have dots themselves; the claim with the shortest first part wins.
    """
    if name in claims:
        return claims[name]
    dot = name.find(".")
    while dot >= 0:
        inner = claims.get(name[:dot])
        if isinstance(inner, dict) and (found := find_claim(inner, name[dot + 1 :])) is not None:
            return found
        dot = name.find(".", dot + 1)
    return None


def _is_group(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= _MAX_GROUP_LENGTH and value.isprintable()
