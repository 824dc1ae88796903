"""Parse an access file: keys, roles and principals. Every problem is found at once, with its line."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

from gateway.auth.access_file.entitlement_parser import HOLDER_FIELDS, ROLE_FIELDS, EntitlementParser
from gateway.auth.access_file.fields import Fields, named_nodes
from gateway.auth.access_file.key import KEY_PATTERN, is_well_formed
from gateway.auth.access_file.key_parser import ID, ID_RULE, KeyParser
from gateway.auth.access_file.model import AccessFile, TokenHolder, certificate_name
from gateway.auth.access_file.problems import Problems, quote, suggest
from gateway.auth.access_file.yaml_tree import Collection, Scalar, read_tree

if TYPE_CHECKING:
    from gateway.auth.access_file.entitlement import Entitlement
    from gateway.auth.access_file.yaml_tree import Node

_SECTIONS: Final = ("keys", "roles", "principals")
_KEYS_AT_ONCE: Final = 40  # about two milliseconds
_MAX_NAME_LENGTH: Final = 512
_JWT: Final = re.compile(r"jwt:(?P<issuer>[^|]+)(?:\|(?P<kind>sub|group):(?P<value>.+))?", re.DOTALL)
_MTLS: Final = re.compile(r"mtls:(?P<name>\S+)")
_PRINCIPAL_RULE: Final = (
    "is not of the form jwt:ISSUER|sub:SUBJECT, jwt:ISSUER|group:GROUP, jwt:ISSUER (every token of it) "
    "or mtls:NAME (of a certificate)"
)
_MLFLOW_RULE: Final = "has its rights in MLflow, not here; GATEWAY_RATE and GATEWAY_CONCURRENT limit it"


def parse_access_file(content: bytes, *, now: float | None = None) -> AccessFile:
    """Return what the file says; raise AccessFileError with every problem.

    `now` is the time in seconds since 1970; what has expired by then is a warning.
    """
    problems = Problems()
    root = read_tree(content, problems)
    _find_keys(content, problems)
    if root is None and problems.count == 0:
        problems.add(1, "the file is empty; to have no keys, write keys: []")
    parser = _Parser(problems, now=time.time() if now is None else now)
    found = AccessFile() if root is None else parser.parse(root)
    problems.raise_if_any()
    return found


class _Parser:
    def __init__(self, problems: Problems, *, now: float) -> None:
        self._problems = problems
        self._roles: dict[str, Entitlement] = {}
        self._entitlements = EntitlementParser(self._roles)
        self._keys = KeyParser(self._entitlements, problems, now=now)
        self._token_holders: dict[TokenHolder, Entitlement] = {}
        self._certificates: dict[str, Entitlement] = {}

    def parse(self, root: Node) -> AccessFile:
        sections = {}
        for name, node in named_nodes(root, "the file", self._problems):
            if name.text not in _SECTIONS:
                hint = suggest(name.text, _SECTIONS)
                self._problems.add(name.line, f"there is no section {quote(name.text)}; {hint}")
            elif not (isinstance(node, Scalar) and node.is_null):
                sections[name.text] = node
        for section, parse in (
            ("roles", self._parse_roles),
            ("keys", self._parse_keys),
            ("principals", self._parse_principals),
        ):
            if section in sections:
                parse(sections[section])
        return AccessFile(
            keys=self._keys.keys,
            roles=self._roles,
            token_holders=self._token_holders,
            certificates=self._certificates,
            warnings=self._problems.warnings,
        )

    def _parse_roles(self, section: Node) -> None:
        for name, node in named_nodes(section, "roles", self._problems):
            if ID.fullmatch(name.text) is None:
                self._problems.add(name.line, f"role {quote(name.text)} {ID_RULE}")
            what = f"role {quote(name.text)}"
            fields = Fields(node, what, known=ROLE_FIELDS, problems=self._problems)
            self._roles[name.text] = self._entitlements.parse(fields)

    def _parse_keys(self, section: Node) -> None:
        if not isinstance(section, Collection) or section.is_mapping:
            self._problems.add(section.line, "keys must be a list, each key of it beginning with - id:")
            return
        for number, node in enumerate(section.nodes, 1):
            self._keys.parse(node, number)
            if number % _KEYS_AT_ONCE == 0:
                time.sleep(0)  # as in read_tree

    def _parse_principals(self, section: Node) -> None:
        for name, node in named_nodes(section, "principals", self._problems):
            what = f"principal {quote(name.text)}"
            fields = Fields(node, what, known=HOLDER_FIELDS, problems=self._problems)
            entitlement = self._entitlements.parse(fields)
            if (problem := _name_problem(name.text)) is not None:
                self._problems.add(name.line, f"{what} {problem}")
            elif (match := _MTLS.fullmatch(name.text)) is not None:
                certificate = certificate_name(match["name"])
                if certificate in self._certificates:
                    self._problems.add(name.line, f"{what} appears again; case does not matter in DNS names")
                self._certificates[certificate] = entitlement
            elif (match := _JWT.fullmatch(name.text)) is not None:
                self._token_holders[_token_holder(match)] = entitlement


def _name_problem(name: str) -> str | None:
    if name.startswith("mlflow:"):
        return _MLFLOW_RULE
    if len(name) > _MAX_NAME_LENGTH or not name.isprintable():
        return f"must have at most {_MAX_NAME_LENGTH} printable characters"
    return None if _JWT.fullmatch(name) or _MTLS.fullmatch(name) else _PRINCIPAL_RULE


def _token_holder(match: re.Match[str]) -> TokenHolder:
    return TokenHolder(
        match["issuer"],
        subject=match["value"] if match["kind"] == "sub" else None,
        group=match["value"] if match["kind"] == "group" else None,
    )


def _find_keys(content: bytes, problems: Problems) -> None:
    """Add a problem for each line with a key itself, in a comment too: the file is no place for it."""
    for match in KEY_PATTERN.finditer(text := content.decode(errors="replace")):
        line = text.count("\n", 0, match.start()) + 1
        if is_well_formed(match[0]):
            problems.add(line, "the line has a key itself; make another with `gateway key new`")
