"""Parse the API keys of an access file."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from gateway.auth.access_file.entitlement_parser import HOLDER_FIELDS
from gateway.auth.access_file.fields import Fields
from gateway.auth.access_file.key import digest
from gateway.auth.access_file.model import NEVER, KeyEntry
from gateway.auth.access_file.problems import quote
from gateway.auth.credentials import KEY_PREFIX
from gateway.auth.principal import Principal

if TYPE_CHECKING:
    from gateway.auth.access_file.entitlement_parser import EntitlementParser
    from gateway.auth.access_file.problems import Problems
    from gateway.auth.access_file.yaml_tree import Node

ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
ID_RULE: Final = "must begin with a letter or digit, and have at most 64 letters, digits, dots, _ and -"
_SHA256: Final = re.compile(r"[0-9A-Fa-f]{64}")
_OF_NOTHING: Final = digest("")
_KEY_FIELDS: Final = ("id", "sha256", "expires", *HOLDER_FIELDS)


class KeyParser:
    """A parser of one key after the other, which finds those that appear again."""

    def __init__(self, entitlements: EntitlementParser, problems: Problems, *, now: float) -> None:
        self.keys: dict[bytes, KeyEntry] = {}
        self._entitlements = entitlements
        self._problems = problems
        self._now = now
        self._id_lines: dict[str, int] = {}
        self._hash_lines: dict[bytes, int] = {}

    def parse(self, node: Node, number: int) -> None:
        """Add the key of a node, the `number`th of its list; add what is wrong to the problems."""
        before = self._problems.count
        fields = Fields(node, f"key {number}", known=_KEY_FIELDS, problems=self._problems)
        if not fields.is_mapping:
            return
        key_id = self._parse_id(fields)
        key_hash = self._parse_hash(fields)
        expires_at = self._parse_expiry(fields)
        entitlement = self._entitlements.parse(fields)
        if self._problems.count > before or key_id is None or key_hash is None:
            return
        role = fields.text("role")
        self.keys[key_hash] = KeyEntry(
            Principal(
                key_id, "keys", entitlement.rights, entitlement.limits, configured=True, expires_at=expires_at
            ),
            role="" if role is None else role.text,
            entitlement=entitlement,
        )

    def _parse_id(self, fields: Fields) -> str | None:
        value = fields.text("id")
        if value is None:
            if fields.node("id") is None:
                fields.add(fields.line, "it has no id, by which logs name it")
            return None
        if value.text.startswith(KEY_PREFIX):
            fields.add(value.line, "id: this is a key, which must be secret; give it a name instead")
        elif ID.fullmatch(value.text) is None:
            fields.add(value.line, f"id: {quote(value.text)} {ID_RULE}")
        elif value.text in self._id_lines:
            line = self._id_lines[value.text]
            fields.add(value.line, f"id: {value.text} appears again; it is in line {line} too")
        else:
            self._id_lines[value.text] = value.line
            fields.what += f" ({value.text})"
        return value.text

    def _parse_hash(self, fields: Fields) -> bytes | None:
        value = fields.text("sha256")
        if value is None:
            if fields.node("sha256") is None:
                fields.add(fields.line, "it has no sha256, which `gateway key new` prints")
            return None
        if (problem := _hash_problem(value.text)) is not None:
            fields.add(value.line, f"sha256: {problem}")
            return None
        found = bytes.fromhex(value.text)
        if found in self._hash_lines:
            line = self._hash_lines[found]
            fields.add(value.line, f"sha256: the same key is in line {line} too; each needs its own")
        self._hash_lines.setdefault(found, value.line)
        return found

    def _parse_expiry(self, fields: Fields) -> float:
        value = fields.text("expires")
        if value is None:
            return NEVER
        try:
            expires_at = parse_expiry(value.text)
        except ValueError as error:
            fields.add(value.line, f"expires: {error}")
            return NEVER
        if expires_at <= self._now:
            self._problems.warn(value.line, f"{fields.what} has expired; remove it or prolong it")
        return expires_at


def parse_expiry(text: str) -> float:
    """Return the time of a date or a date with time, in seconds since 1970; raise ValueError otherwise.

    A date means the end of that day. Times without a zone are UTC.
    """
    try:
        try:
            moment = datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(), UTC)
        except ValueError:
            moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{quote(text)} is not a date such as 2027-01-31 or a time such as 2027-01-31T18:00:00Z"
        ) from error


def _hash_problem(text: str) -> str | None:
    if text.startswith(KEY_PREFIX):
        return (
            "this is the key itself, not its hash, and the file must not have it. "
            "Make another with `gateway key new`"
        )
    if _SHA256.fullmatch(text) is None:
        return f"must be the 64 hexadecimal digits that `gateway key new` prints, not {len(text)} characters"
    if bytes.fromhex(text) == _OF_NOTHING:
        return "this is the hash of an empty text, not of a key"
    return None
