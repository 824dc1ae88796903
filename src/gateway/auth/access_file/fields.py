"""Typed fields of a mapping in an access file; what is wrong with them is collected."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.auth.access_file.problems import quote, suggest
from gateway.auth.access_file.yaml_tree import Collection, Scalar

if TYPE_CHECKING:
    from collections.abc import Collection as Names
    from collections.abc import Iterator

    from gateway.auth.access_file.problems import Problems
    from gateway.auth.access_file.yaml_tree import Node

_NUMBER: Final = re.compile(r"[1-9][0-9]{0,15}")


def named_nodes(node: Node, what: str, problems: Problems) -> Iterator[tuple[Scalar, Node]]:
    """Yield the names and values of a mapping; a name that appears again is a problem."""
    if not isinstance(node, Collection) or not node.is_mapping:
        problems.add(node.line, f"{what} must be a mapping of names to values")
        return
    lines: dict[str, int] = {}
    for name, value in node.pairs():
        if not isinstance(name, Scalar):
            problems.add(name.line, f"{what}: a name must be a text")
        elif name.text in lines:
            problems.add(
                name.line, f"{what}: {quote(name.text)} appears again; it is in line {lines[name.text]} too"
            )
        else:
            lines[name.text] = name.line
            yield name, value


class Fields:
    """The fields of one mapping, of which only those in `known` may exist."""

    def __init__(self, node: Node, what: str, *, known: Names[str], problems: Problems) -> None:
        self.what = what
        self.line = node.line
        self.is_mapping = isinstance(node, Collection) and node.is_mapping
        self._problems = problems
        self._nodes: dict[str, Node] = {}
        for name, value in named_nodes(node, what, problems):
            if name.text not in known:
                hint = suggest(name.text, known)
                problems.add(name.line, f"{what}: there is no field {quote(name.text)}; {hint}")
            elif isinstance(value, Scalar) and value.is_null:
                problems.add(name.line, f"{what}: {name.text} has no value; give one, or remove the line")
            else:
                self._nodes[name.text] = value

    def node(self, name: str) -> Node | None:
        """Return the value of a field, or None if it is missing."""
        return self._nodes.get(name)

    def named_nodes(self, name: str) -> Iterator[tuple[Scalar, Node]]:
        """Yield the names and values in a field that is a mapping."""
        if (node := self._nodes.get(name)) is not None:
            yield from named_nodes(node, f"{self.what}: {name}", self._problems)

    @property
    def problems(self) -> int:
        """The number of problems of the whole file so far."""
        return self._problems.count

    def text(self, name: str) -> Scalar | None:
        """Return the text of a field, or None if it is missing or no text."""
        node = self._nodes.get(name)
        if isinstance(node, Collection):
            self.add(node.line, f"{name} must be a text, not a {'mapping' if node.is_mapping else 'list'}")
            return None
        return node

    def number(self, name: str) -> int | None:
        """Return the number of a field, at least 1, or None if it is missing or wrong."""
        value = self.text(name)
        if value is None:
            return None
        if _NUMBER.fullmatch(value.text) is None:
            self.add(value.line, f"{name}: {quote(value.text)} is not a whole number from 1")
            return None
        return int(value.text)

    def add(self, line: int, text: str) -> None:
        """Add a problem of this mapping."""
        self._problems.add(line, f"{self.what}: {text}")
