"""Parse grants in an access file, and find the line of each problem."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.auth.access_file.yaml_tree import Collection, Scalar
from gateway.auth.actions import Action
from gateway.auth.grants import ModelPattern, parse_grants

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from gateway.auth.access_file.fields import Fields
    from gateway.auth.access_file.yaml_tree import Node

    Patterns = Mapping[Action, tuple[ModelPattern, ...]]

NO_PATTERNS: Final[Patterns] = {}


class GrantsParser:
    """A parser of grants. It checks equal ones once: many keys have few sets of grants."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Patterns] = {}

    def parse(self, fields: Fields) -> Patterns:
        """Return the patterns of the field `grants`, none if it is missing or wrong."""
        node = fields.node("grants")
        if node is None:
            return NO_PATTERNS
        key = _freeze(node)
        if key not in self._known:
            texts = _plain(node)
            if texts is None or _problem(texts) is not None:
                _explain(fields)
                return NO_PATTERNS
            self._known[key] = {
                Action(name): tuple(map(ModelPattern, patterns)) for name, patterns in texts.items()
            }
        return self._known[key]


def _plain(node: Node) -> dict[str, list[str]] | None:
    """Return the patterns of each action, unchecked; None if the node has another form, or a name twice."""
    if isinstance(node, Scalar) or not node.is_mapping:
        return None
    found: dict[str, list[str]] = {}
    for name, value in node.pairs():
        nodes = [value] if isinstance(value, Scalar) or value.is_mapping else value.nodes
        texts = [each.text for each in nodes if isinstance(each, Scalar) and not each.is_null]
        if not isinstance(name, Scalar) or name.text in found or len(texts) < len(nodes):
            return None
        found[name.text] = texts
    return found


def _explain(fields: Fields) -> None:
    """Add the problems of grants, each with the line of its action or pattern."""
    before = fields.problems
    for name, value in fields.named_nodes("grants"):
        if (problem := _problem({name.text: []})) is not None:
            fields.add(name.line, f"grants: {problem}")
            continue
        if isinstance(value, Collection) and not value.is_mapping:
            texts = [_to_text(name.text, each, fields) for each in value.nodes]
        else:
            texts = [_to_text(name.text, value, fields)]
        if (problem := _problem({name.text: texts})) is not None and fields.problems == before:
            fields.add(value.line, f"grants: {problem}")


def _to_text(action: str, node: Node, fields: Fields) -> str | None:
    """Return a pattern; if it is none, add the problem with its own line."""
    if isinstance(node, Collection) or node.is_null:
        fields.add(node.line, f"grants: {action}: a pattern must be a text, such as wine or team-*")
        return None
    if (problem := _problem({action: [node.text]})) is not None:
        fields.add(node.line, f"grants: {problem}")
        return None
    return node.text


def _problem(grants: object) -> str | None:
    try:
        parse_grants(grants)
    except ValueError as error:
        return str(error)
    return None


def _freeze(node: Node) -> Hashable:
    if isinstance(node, Scalar):
        return node.text, node.is_null
    return node.is_mapping, tuple(map(_freeze, node.nodes))
