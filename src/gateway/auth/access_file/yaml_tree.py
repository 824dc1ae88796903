"""The YAML of an access file as a tree of texts with line numbers.

No value is interpreted: `on`, `1e5` and a hash of digits alone stay the texts that they are. Anchors, aliases
and tags are refused, so that a small file is a small tree.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.auth.access_file.problems import Problems

_MAX_DEPTH: Final = 12
_EVENTS_AT_ONCE: Final = 400  # about two milliseconds
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where it was built


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text."""

    line: int
    text: str
    is_null: bool = False


@dataclass(frozen=True, slots=True)
class Collection:
    """A list of nodes, or a mapping as a list of a key, its value, the next key …"""

    line: int
    is_mapping: bool
    nodes: list[Node] = field(default_factory=list)

    def pairs(self) -> Iterator[tuple[Node, Node]]:
        """Yield the keys and values of a mapping."""
        return zip(self.nodes[::2], self.nodes[1::2], strict=True)


Node = Scalar | Collection


class _TooDeep(Exception):
    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


def read_tree(content: bytes, problems: Problems) -> Node | None:
    """Return the root of the one document in `content`, or None after a problem that hides all others."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problems.add(content.count(b"\n", 0, error.start) + 1, "the file is not UTF-8 text")
        return None
    builder = _Builder(problems)
    try:
        for number, event in enumerate(yaml.parse(text, Loader=_LOADER)):
            builder.add(event)
            if number % _EVENTS_AT_ONCE == 0:
                time.sleep(0)  # the event loop's thread waits for less than the interpreter's 5 ms
    except _TooDeep as error:
        problems.add(error.line, "lists and mappings are nested too deep")
        return None
    except yaml.YAMLError as error:
        problems.add(*_explain(error, content))
        return None
    return builder.root


class _Builder:
    """A builder of the tree from the events of the parser."""

    def __init__(self, problems: Problems) -> None:
        self.root: Node | None = None
        self._problems = problems
        self._open: list[Collection] = []
        self._documents = 0

    def add(self, event: yaml.Event) -> None:
        """Add what an event says; raise _TooDeep beyond a depth that no access file has."""
        if isinstance(event, yaml.ScalarEvent):
            self._check(event)
            is_null = event.style in {None, ""} and event.value in _NULLS
            self._append(Scalar(_line(event), event.value, is_null))
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._check(event)
            node = Collection(_line(event), isinstance(event, yaml.MappingStartEvent))
            self._append(node)
            self._open.append(node)
            if len(self._open) > _MAX_DEPTH:
                raise _TooDeep(node.line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
        elif isinstance(event, yaml.AliasEvent):
            self._problems.add(_line(event), 'YAML\'s aliases are not supported; quote patterns: "*"')
            self._append(Scalar(_line(event), "", is_null=True))
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1

    def _append(self, node: Node) -> None:
        if self._open:
            self._open[-1].nodes.append(node)
        elif self._documents == 1:
            self.root = node
        else:
            self._problems.add(node.line, "the file has more than one YAML document; it must have one")

    def _check(self, event: yaml.NodeEvent) -> None:
        if event.anchor is not None:
            self._problems.add(_line(event), "YAML's anchors are not supported; use a role")
        if getattr(event, "tag", None) is not None:
            self._problems.add(_line(event), "YAML's tags are not supported; remove what begins with !")


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 1


def _explain(error: yaml.YAMLError, content: bytes) -> tuple[int, str]:
    """Return the line and the text of a problem, which does not repeat the content."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        if "alias" in (error.context or ""):
            return line, 'a pattern that begins with * must be quoted: "*"'
        return line, f"the file is not YAML: {error.problem or 'it cannot be read'}"
    position = getattr(error, "position", 0)
    line = content.count(b"\n", 0, position if isinstance(position, int) else 0) + 1
    return line, "the file has a character that YAML does not allow"
