"""Fields of MLflow's JSON, each of its type: what is left out or of another type is empty."""

from __future__ import annotations

import math
from typing import Any

from gateway.errors import BadUpstreamResponse

Json = dict[str, Any]


def get_metrics(data: Json) -> dict[str, float]:
    """The last value of each metric; MLflow writes NaN as text and infinity as the largest double."""
    newest: dict[str, tuple[int, int, float]] = {}
    for entry in get_objects(data, "metrics"):
        key, value = get_text(entry, "key"), to_float(entry.get("value"))
        point = (get_integer(entry, "step"), get_integer(entry, "timestamp"), value)
        if key not in newest or newest[key][:2] <= point[:2]:
            newest[key] = point
    return {key: point[2] for key, point in newest.items()}


def to_float(value: object) -> float:
    """A double, NaN where it is none."""
    try:
        return float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return math.nan


def required_text(item: Json, key: str) -> str:
    """A name or an id; raises UpstreamWrong where it is missing, since nothing can be said of nobody."""
    value = get_text(item, key)
    if not value:
        raise BadUpstreamResponse(f"MLflow's answer has no {key} where it must have one.")
    return value


def get_text(item: Json, key: str) -> str:
    """A text, or an integer as one."""
    value = item.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""


def get_integer(item: Json, key: str) -> int:
    """An integer, which MLflow may write as text; 0 where there is none."""
    value = item.get(key)
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else 0
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0


def get_list(item: Json, key: str) -> list[Any]:
    """A list of whatever it holds."""
    value = item.get(key)
    return value if isinstance(value, list) else []


def get_object(item: Json, key: str) -> Json:
    """An object."""
    value = item.get(key)
    return value if isinstance(value, dict) else {}


def get_objects(item: Json, key: str) -> list[Json]:
    """A list of objects; what is none is left out."""
    return [entry for entry in get_list(item, key) if isinstance(entry, dict)]


def get_key_values(item: Json, key: str) -> dict[str, str]:
    """A list of `key` and `value`, as MLflow writes tags and parameters."""
    return {get_text(entry, "key"): get_text(entry, "value") for entry in get_objects(item, key)}
