"""Parse what a role, key or principal may do: its role, grants and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.auth.access_file.entitlement import Entitlement, override_limits, unite_patterns
from gateway.auth.access_file.grants_parser import GrantsParser
from gateway.auth.access_file.problems import quote, suggest
from gateway.domain.limits import Limits, parse_rate

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from gateway.auth.access_file.fields import Fields
    from gateway.domain.limits import Rate

ROLE_FIELDS: Final = ("grants", "rate", "burst", "concurrent", "max_body_bytes")
HOLDER_FIELDS: Final = ("role", *ROLE_FIELDS)


class EntitlementParser:
    """A parser of entitlements. Equal ones are one object: many keys have few sets of rights.

    `roles` is what the field `role` may name; it is filled while roles are parsed.
    """

    def __init__(self, roles: Mapping[str, Entitlement]) -> None:
        self._roles = roles
        self._grants = GrantsParser()
        self._known: dict[Hashable, Entitlement] = {}

    def parse(self, fields: Fields) -> Entitlement:
        """Return the entitlement of these fields; add what is wrong to the problems of `fields`.

        The grants of its role and its own are united; its own limits win over its role's.
        """
        if fields.is_mapping and fields.node("grants") is None and fields.node("role") is None:
            fields.add(fields.line, "it may do nothing; give it grants, or a role if it is none")
        role = self._find_role(fields)
        patterns, limits = self._grants.parse(fields), _parse_limits(fields)
        if role is not None:
            patterns = unite_patterns([role.patterns, patterns])
            limits = override_limits(limits, role.limits)
        key = tuple(patterns.items()), limits
        if key not in self._known:
            self._known[key] = Entitlement(patterns, limits)
        return self._known[key]

    def _find_role(self, fields: Fields) -> Entitlement | None:
        name = fields.text("role")
        if name is not None and name.text not in self._roles:
            fields.add(name.line, f"there is no role {quote(name.text)}; {suggest(name.text, self._roles)}")
        return None if name is None else self._roles.get(name.text)


def _parse_limits(fields: Fields) -> Limits:
    return Limits(
        rate=_parse_rate(fields),
        burst=fields.number("burst"),
        concurrent=fields.number("concurrent"),
        max_body_bytes=fields.number("max_body_bytes"),
    )


def _parse_rate(fields: Fields) -> Rate | None:
    value = fields.text("rate")
    if value is None:
        return None
    try:
        return parse_rate(value.text)
    except ValueError:
        fields.add(value.line, f"rate: {quote(value.text)} is not a rate such as 50/s, 600/min or 1000/h")
        return None
