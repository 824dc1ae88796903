"""MLflow's column types as JSON Schema: what JSON a value of the type may be in a request, and in an answer.

A client that registers a model writes its signature. What is not a type of MLflow becomes the schema of any
value, and so does what is nested deeper than any model needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.api.schema.datetimes import DATETIME_PATTERN, SEPARATED_DATETIME_PATTERN

JsonSchema = dict[str, object]

MAX_DEPTH: Final = 32
_FLOAT_MAX: Final = 3.4028234663852886e38
BASE64_PATTERN: Final = (
    r"^\s*(([A-Za-z0-9+/]\s*){4})*(([A-Za-z0-9+/]\s*){2}(=\s*){2}|([A-Za-z0-9+/]\s*){3}=\s*)?$"
)

SCALARS: Final[Mapping[str, JsonSchema]] = {
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1},
    "long": {"type": "integer", "format": "int64", "minimum": -(2**63), "maximum": 2**63 - 1},
    "float": {"type": "number", "format": "float", "minimum": -_FLOAT_MAX, "maximum": _FLOAT_MAX},
    "double": {"type": "number", "format": "double"},
    "string": {"type": "string"},
    "binary": {"type": "string", "contentEncoding": "base64", "pattern": BASE64_PATTERN},
    "datetime": {
        "type": "string",
        "pattern": DATETIME_PATTERN,
        "description": "ISO 8601, a date or a date and time; without a zone it is UTC.",
    },
}
_ANSWERED_SCALARS: Final[Mapping[str, JsonSchema]] = {
    **SCALARS,
    "float": {"type": "number", "format": "float"},
    "binary": {"type": "string", "contentEncoding": "base64"},
    "datetime": {"type": "string"},
}
_NULL_IN_COLUMNS: Final = frozenset({"float", "double", "string", "binary", "datetime"})
_NULL_IN_LISTS: Final = frozenset({"float", "double", "datetime"})
_NULL_IN_OBJECTS: Final = frozenset({"float", "double"})


def ref(name: str) -> JsonSchema:
    """Return a reference to one of the document's schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: JsonSchema) -> JsonSchema:
    """Return the schema of the same values and null."""
    kind = schema.get("type")
    return {**schema, "type": [kind, "null"]} if isinstance(kind, str) else schema


_COLUMNS: Final[Mapping[tuple[str, bool], JsonSchema]] = {
    (kind, required): nullable(schema) if kind in _NULL_IN_COLUMNS or not required else schema
    for kind, schema in SCALARS.items()
    for required in (True, False)
}


def is_required(spec: Mapping[str, object]) -> bool:
    """Return whether a column or a property must be there: MLflow's default depends on its type."""
    if "required" in spec:
        return bool(spec["required"])
    return not isinstance(spec.get("type"), str) or spec["type"] in SCALARS


def column_schema(spec: Mapping[str, object]) -> JsonSchema:
    """Return the schema of a cell of a column: null where the gateway takes it."""
    kind, required = _kind(spec), is_required(spec)
    if kind not in SCALARS:
        return _nested(spec, required=required, depth=0)
    return _COLUMNS[kind, required]


def param_schema(spec: Mapping[str, object]) -> JsonSchema:
    """Return the schema of a param's value, or of an item of its list."""
    kind = _kind(spec)
    if kind == "datetime":  # MLflow parses it again, and takes no other form
        return nullable({**SCALARS[kind], "pattern": SEPARATED_DATETIME_PATTERN})
    if kind in SCALARS:
        return nullable(SCALARS[kind]) if kind in _NULL_IN_COLUMNS else dict(SCALARS[kind])
    return _nested(spec, required=True, depth=0)


def answer_schema(spec: object, *, depth: int = 0) -> JsonSchema:
    """Return the schema of an answered value: NaN, infinities and missing values are null."""
    kind = _kind(spec)
    if not isinstance(spec, Mapping) or depth > MAX_DEPTH:
        return {}
    if kind in SCALARS:
        return nullable(_ANSWERED_SCALARS[kind])
    if kind in {"array", "sparkml_vector"}:
        items = spec.get("items") if kind == "array" else {"type": "double"}
        return {"type": ["array", "null"], "items": answer_schema(items, depth=depth + 1)}
    if kind == "object":
        properties = {name: answer_schema(item, depth=depth + 1) for name, item in _properties(spec).items()}
        return {"type": ["object", "null"], "properties": properties}
    if kind == "map":
        values = answer_schema(spec.get("values"), depth=depth + 1)
        return {"type": ["object", "null"], "additionalProperties": values}
    return {}


def _nested(spec: object, *, required: bool, depth: int) -> JsonSchema:
    """Return the schema of a value that is a cell, or part of one, as `codec/inputs/nested.py` checks it."""
    kind = _kind(spec)
    if not isinstance(spec, Mapping) or depth > MAX_DEPTH:
        return {}
    if kind in SCALARS:
        return dict(SCALARS[kind]) if required and kind not in _NULL_IN_OBJECTS else nullable(SCALARS[kind])
    if kind in {"array", "sparkml_vector"}:
        items = spec.get("items") if kind == "array" else {"type": "double"}
        schema: JsonSchema = {"type": "array", "items": _item(items, required=required, depth=depth + 1)}
        return schema if required and _kind(items) != "any" else nullable(schema)
    if kind == "object":
        return _object(spec, required=required, depth=depth)
    if kind == "map":
        values = spec.get("values")
        inner = _nested(values, required=required, depth=depth + 1)
        schema = {"type": "object", "additionalProperties": inner}
        return schema if required and _kind(values) != "any" else nullable(schema)
    return {}


def _item(spec: object, *, required: bool, depth: int) -> JsonSchema:
    kind = _kind(spec)
    if kind not in SCALARS:
        return _nested(spec, required=required, depth=depth)
    return nullable(SCALARS[kind]) if kind in _NULL_IN_LISTS else dict(SCALARS[kind])


def _object(spec: Mapping[str, object], *, required: bool, depth: int) -> JsonSchema:
    items = {name: item for name, item in _properties(spec).items() if isinstance(item, Mapping)}
    needed = {name: bool(item.get("required", True)) for name, item in items.items()}
    schema: JsonSchema = {
        "type": "object",
        "properties": {
            name: _nested(item, required=needed[name], depth=depth + 1) for name, item in items.items()
        },
        "additionalProperties": False,
    }
    if names := [name for name, is_needed in needed.items() if is_needed]:
        schema["required"] = names
    return schema if required else nullable(schema)


def _kind(spec: object) -> str:
    kind = spec.get("type") if isinstance(spec, Mapping) else None
    return kind if isinstance(kind, str) else ""


def _properties(spec: Mapping[str, object]) -> Mapping[str, object]:
    properties = spec.get("properties")
    return properties if isinstance(properties, Mapping) else {}
