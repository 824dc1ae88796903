"""The params of a signature as JSON Schema, with their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.api.schema.types import JsonSchema, nullable, param_schema

_MAX_DEFAULT_DEPTH: Final = 32  # of lists and objects; orjson writes no more than 254


def parse_params(specs: object) -> dict[str, JsonSchema]:
    """Return the schema of each param by its name."""
    entries = specs if isinstance(specs, list) else []
    return {
        str(spec["name"]): _param(spec) for spec in entries if isinstance(spec, Mapping) and "name" in spec
    }


def params_schema(params: Mapping[str, JsonSchema]) -> JsonSchema:
    """Return the schema of a body's `params`; what it does not have keeps its default."""
    return {"type": "object", "properties": dict(params), "additionalProperties": False}


def _param(spec: Mapping[str, object]) -> JsonSchema:
    typed = {**spec, "type": spec.get("type", spec.get("dtype"))}
    schema, default = param_schema(typed), spec.get("default")
    if spec.get("shape") is not None:
        schema = {"type": "array", "items": schema}
    if default is None:
        schema = nullable(schema)
    if _depth_is_at_most(default, _MAX_DEFAULT_DEPTH):
        schema = {**schema, "default": default}
    return schema


def _depth_is_at_most(value: object, depth: int) -> bool:
    if not isinstance(value, list | dict):
        return True
    parts = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_depth_is_at_most(part, depth - 1) for part in parts)
