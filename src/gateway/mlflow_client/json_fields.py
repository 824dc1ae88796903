"""Typed access to fields of MLflow's JSON: a field that is missing or of another type is empty."""

from __future__ import annotations

import math
from typing import Any

from gateway.errors import BadUpstreamResponse

Json = dict[str, Any]


def to_float(value: object) -> float:
    """Return `value` as a float, NaN if it is not a number."""
    try:
        return float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return math.nan


def required_text(item: Json, key: str) -> str:
    """Return a name or an id; raise BadUpstreamResponse if it is missing."""
    value = get_text(item, key)
    if not value:
        raise BadUpstreamResponse(f"MLflow's response lacks the required field {key}.")
    return value


def get_text(item: Json, key: str) -> str:
    """Return a text, or an integer as text."""
    value = item.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""


def get_integer(item: Json, key: str) -> int:
    """Return an integer, which MLflow may write as text; 0 if there is none."""
    value = item.get(key)
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else 0
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0


def get_list(item: Json, key: str) -> list[Any]:
    """Return a list with elements of any type."""
    value = item.get(key)
    return value if isinstance(value, list) else []


def get_object(item: Json, key: str) -> Json:
    """Return an object."""
    value = item.get(key)
    return value if isinstance(value, dict) else {}


def get_objects(item: Json, key: str) -> list[Json]:
    """Return the objects in a list, without elements of other types."""
    return [entry for entry in get_list(item, key) if isinstance(entry, dict)]


def get_key_values(item: Json, key: str) -> dict[str, str]:
    """Return a list of `key` and `value` objects, MLflow's form of tags and parameters, as a dict."""
    return {get_text(entry, "key"): get_text(entry, "value") for entry in get_objects(item, key)}
