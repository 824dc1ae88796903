"""The signature of a version as a table: names, types in words, and whether a value may be missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.console import text

MAX_COLUMNS: Final = 200
_MAX_DEPTH: Final = 6
_MAX_FIELDS: Final = 12
_MAX_TYPE: Final = 200


@dataclass(frozen=True, slots=True)
class Column:
    """One input, output or param."""

    name: str
    type: str
    required: bool
    default: str = ""


def columns(part: object) -> list[Column]:
    """Return the columns of a part of a signature; what has another form than MLflow writes is left out."""
    if not isinstance(part, list):
        return []
    return [_column(spec) for spec in part[:MAX_COLUMNS] if isinstance(spec, Mapping)]


def count(part: object) -> int:
    """Return the number of columns."""
    return len(part) if isinstance(part, list) else 0


def _column(spec: Mapping[object, object]) -> Column:
    name = spec.get("name")
    default = spec.get("default")
    return Column(
        name=text.cut("(no name)" if name is None else name, 80),
        type=text.cut(describe_type(spec), _MAX_TYPE),
        required=spec.get("required", True) is not False and "default" not in spec,
        default="" if default is None else text.cut(default, 80),
    )


def describe_type(spec: Mapping[Any, Any], depth: int = 0) -> str:
    """Return a type in words: `double`, `list of string`, `float32 tensor (any, 28, 28)`."""
    if depth > _MAX_DEPTH:
        return "…"
    kind = spec.get("type")
    if kind == "tensor" and isinstance(tensor := spec.get("tensor-spec"), Mapping):
        return f"{tensor.get('dtype')} tensor {_shape(tensor.get('shape'))}"
    if kind == "array" and isinstance(items := spec.get("items"), Mapping):
        return f"list of {describe_type(items, depth + 1)}"
    if kind == "map" and isinstance(values := spec.get("values"), Mapping):
        return f"map of {describe_type(values, depth + 1)}"
    if kind == "object" and isinstance(properties := spec.get("properties"), Mapping):
        return f"object {{{_properties(properties, depth)}}}"
    shape = spec.get("shape")
    return f"{kind} {_shape(shape)}" if isinstance(shape, list) else str(kind)


def _properties(properties: Mapping[object, object], depth: int) -> str:
    shown = [
        f"{text.cut(name, 40)}: {describe_type(spec, depth + 1)}"
        for name, spec in list(properties.items())[:_MAX_FIELDS]
        if isinstance(spec, Mapping)
    ]
    more = len(properties) - len(shown)
    return ", ".join([*shown, f"and {more} more"] if more > 0 else shown)


def _shape(shape: object) -> str:
    if not isinstance(shape, list):
        return ""
    return f"({', '.join('any' if size == -1 else text.cut(size, 12) for size in shape[:8])})"
