"""One column of JSON values, exactly as the signature's type: what loses something is refused."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models.utils import _enforce_array, _enforce_map, _enforce_object
from mlflow.types.schema import AnyType, Array, DataType, Map, Object

if TYPE_CHECKING:
    from workers.codec.plan import Column

Values = Sequence[object]
Bad = list[tuple[int, str]]

_INT32 = (-(2**31), 2**31 - 1)
_INT64 = (-(2**63), 2**63 - 1)
_EXACT = 2**53  # every integer up to here is a double
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_DATETIME = re.compile(
    r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?)? ?(Z|[+-]\d{2}(:?\d{2})?)?", re.ASCII
)


_ENFORCERS: tuple[tuple[type, Callable[..., object]], ...] = (
    (Array, _enforce_array),
    (Object, _enforce_object),
    (Map, _enforce_map),
)


class ColumnRefused(Exception):
    """Some cells do not fit; `bad` has their rows (from 0) and the reasons."""

    def __init__(self, bad: Bad) -> None:
        super().__init__()
        self.bad = bad


@dataclass(frozen=True, slots=True)
class _Rule:
    """How one scalar type is read.

    Values whose Python types are all in `safe` go to `build` at once, which raises where one is
    out of range after all; the others are asked one by one `why` they do not fit.
    """

    safe: frozenset[type]
    why: Callable[[object], str | None]
    build: Callable[[Values], Any]


def convert(values: Values, column: Column) -> Any:
    """`values` as an ndarray or a Series of the column's type. Raises ColumnRefused."""
    if not isinstance(column.type, DataType):
        return _nested(values, column)
    rule = _RULES[column.type]
    if rule.safe.issuperset(map(type, values)):
        try:
            return rule.build(values)
        except (OverflowError, ValueError):
            pass  # one of them is out of range: find which
    bad = [(row, reason) for row, value in enumerate(values) if (reason := rule.why(value))]
    if bad:
        raise ColumnRefused(bad)
    return rule.build(values)


def _nested(values: Values, column: Column) -> pd.Series:
    """Arrays, objects, maps and anything: MLflow's own check of each cell."""
    bad: Bad = []
    cells: list[object] = []
    for row, value in enumerate(values):
        try:
            cells.append(_enforced(value, column))
        except (MlflowException, TypeError, ValueError, AttributeError):
            bad.append((row, "does not fit the type that the signature gives this column"))
    if bad:
        raise ColumnRefused(bad)
    series = pd.Series([None] * len(cells), dtype=object)
    series[:] = pd.Series(cells, dtype=object)
    return series


def _enforced(value: object, column: Column) -> object:
    if isinstance(column.type, AnyType):
        return value
    for kind, enforce in _ENFORCERS:
        if isinstance(column.type, kind):
            return enforce(value, column.type, required=column.required)
    raise TypeError(f"a signature type that is not known: {type(column.type).__name__}")


def _why_boolean(value: object) -> str | None:
    if value is None:
        return "null, which a boolean cannot be"
    return None if isinstance(value, bool) else "not a boolean (true or false)"


def _why_integer(value: object, limits: tuple[int, int], name: str) -> str | None:
    if value is None:
        return f"null, which {name} cannot be"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"not a number, where {name} is wanted"
    if isinstance(value, float) and not value.is_integer():
        return f"has a fraction, where {name} is wanted"
    if not limits[0] <= value <= limits[1]:
        return f"beyond the range of {name} ({'32' if limits == _INT32 else '64'} bits)"
    if isinstance(value, float) and abs(value) > _EXACT:
        return "written as a decimal beyond 2^53, where it no longer is exact; write it as an integer"
    return None


def _why_float(value: object, limit: float, name: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"not a number, where a {name} is wanted"
    if abs(value) > limit:
        return f"beyond the range of a {name}"
    if isinstance(value, int) and int(float(value)) != value:
        return f"an integer that a {name} cannot hold exactly"
    return None


def _why_string(value: object) -> str | None:
    return None if value is None or isinstance(value, str) else "not a string"


def _why_binary(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        return "not a string of base64"
    try:
        _decoded(value)
    except (binascii.Error, ValueError):
        return "not base64"
    return None


def _why_datetime(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        return "not an ISO 8601 date or date and time in a string"
    if not _DATETIME.fullmatch(value):
        return "not an ISO 8601 date or date and time"
    try:
        _timestamps([value])
    except (ValueError, OverflowError):
        return "not a date that exists, or beyond the years 1677 to 2262"
    return None


def _booleans(values: Values) -> Any:
    return np.array(values, dtype=bool)


def _int64(values: Values) -> Any:
    return np.array([int(value) for value in values], dtype=np.int64)  # type: ignore[call-overload] # numbers, by the rule


def _int32(values: Values) -> Any:
    wide = _int64(values)
    if wide.size and not (_INT32[0] <= wide.min() and wide.max() <= _INT32[1]):
        raise OverflowError
    return wide.astype(np.int32)


def _float64(values: Values) -> Any:
    array = np.array(values, dtype=np.float64)
    for value in values:
        if type(value) is int and abs(value) > _EXACT and int(float(value)) != value:
            raise OverflowError
    return array


def _float32(values: Values) -> Any:
    wide = _float64(values)
    if wide.size and np.nanmax(np.abs(wide), initial=0.0) > _FLOAT32_MAX:
        raise OverflowError
    return wide.astype(np.float32)


def _strings(values: Values) -> Any:
    return pd.Series(list(values))


def _binaries(values: Values) -> Any:
    decoded = [None if value is None else _decoded(str(value)) for value in values]
    return pd.Series(decoded, dtype=object)


def _decoded(text: str) -> bytes:
    return base64.b64decode("".join(text.split()), validate=True)


def _timestamps(values: Values) -> Any:
    """Nanoseconds without zone, as MLflow's datetime is; what has a zone becomes UTC."""
    if not all(value is None or (isinstance(value, str) and _DATETIME.fullmatch(value)) for value in values):
        raise ValueError
    parsed = pd.to_datetime(pd.Series(list(values), dtype=object), format="ISO8601", utc=True)
    return parsed.dt.tz_localize(None).dt.as_unit("ns")


def _rule(safe: set[type], why: Callable[[object], str | None], build: Callable[[Values], Any]) -> _Rule:
    return _Rule(frozenset(safe), why, build)


_NONE = type(None)
_RULES: dict[DataType, _Rule] = {
    DataType.boolean: _rule({bool}, _why_boolean, _booleans),
    DataType.integer: _rule({int}, lambda value: _why_integer(value, _INT32, "an integer"), _int32),
    DataType.long: _rule({int}, lambda value: _why_integer(value, _INT64, "a long"), _int64),
    DataType.float: _rule(
        {float, int, _NONE}, lambda value: _why_float(value, _FLOAT32_MAX, "float"), _float32
    ),
    DataType.double: _rule(
        {float, int, _NONE}, lambda value: _why_float(value, float(np.finfo(float).max), "double"), _float64
    ),
    DataType.string: _rule({str, _NONE}, _why_string, _strings),
    DataType.binary: _rule({str, _NONE}, _why_binary, _binaries),
    DataType.datetime: _rule({str, _NONE}, _why_datetime, _timestamps),
}
