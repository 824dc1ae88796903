"""JSON values as values of one scalar type, with a reason for each value that does not fit exactly."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from mlflow.types.schema import DataType

from workers.codec.input_errors import first_problems
from workers.codec.inputs.arrays import FRACTIONLESS_FROM, MAX_EXACT_INTEGER

Values = Sequence[object]
Array = np.ndarray[Any, Any]
CellErrors = list[tuple[int, str]]  # positions, and the reasons why the values there do not fit

_DOUBLE_MAX = float(np.finfo(np.float64).max)
_NONE_TYPE = type(None)
_DATETIME_PATTERN = re.compile(
    r"\d{4}(-\d{2}-\d{2}|\d{4})([Tt ]\d{2}(:?\d{2}(:?\d{2}(\.\d{1,9})?)?)? ?([Zz]|[+-]\d{2}(:?\d{2})?)?)?",
    re.ASCII,
)


class NonIntegralFloat(float):
    """A number that was written with a fraction, even if rounding to a double removed it."""

    __slots__ = ()

    def is_integer(self) -> bool:
        """Return False, as for the number before it was rounded."""
        return False


@dataclass(frozen=True, slots=True)
class ScalarConverter:
    """A conversion of JSON values to one scalar type.

    If the Python types of all values are in `fast_types`, `build` gets the values unchecked. It raises
    ValueError or OverflowError if one does not fit. Otherwise `mismatch` gives the reason for each value
    that does not fit, None for the others.
    """

    fast_types: frozenset[type]
    mismatch: Callable[[object], str | None]
    build: Callable[[Values], Any]

    def convert(self, values: Values) -> tuple[Any, CellErrors]:
        """Return what `build` makes of the values, and no errors; or None, and the errors."""
        if self.fast_types.issuperset(map(type, values)):
            try:
                return self.build(values), []
            except (OverflowError, ValueError):
                pass  # a value is out of range: find out which
        errors = first_problems(
            (row, reason) for row, value in enumerate(values) if (reason := self.mismatch(value))
        )
        return (None, errors) if errors else (self.build(values), [])


def integer_converter(dtype: np.dtype[Any], name: str) -> ScalarConverter:
    """Return a converter to an integer dtype; `name` is the name of the type with its article.

    A parser may have rounded off the fraction of a float, which only a `NonIntegralFloat` still shows.
    From 2^52 on no double has a fraction, so other floats of that size are rejected.
    """
    limits = np.iinfo(dtype)
    low, high, bits = int(limits.min), int(limits.max), limits.bits

    def mismatch(value: object) -> str | None:
        if value is None:
            return f"null, which {name} cannot be"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"not a number, expected {name}"
        if isinstance(value, float):
            if not math.isfinite(value):
                return f"NaN or infinite, which {name} cannot be"
            if abs(value) >= FRACTIONLESS_FROM and not isinstance(value, NonIntegralFloat):
                return "a decimal of 2^52 or more, which may have been rounded; write it as an integer"
            if not value.is_integer():
                return f"has a fraction, expected {name}"
        return None if low <= value <= high else f"beyond the range of {name} ({bits} bits)"

    def build(values: Values) -> Array:
        integers = map(int, values)  # type: ignore[arg-type] # `mismatch` let only numbers through
        return np.array(list(integers), dtype=dtype)

    return ScalarConverter(frozenset({int}), mismatch, build)


def float_converter(dtype: np.dtype[Any], name: str) -> ScalarConverter:
    """Return a converter that rounds numbers to a float dtype within its range; null becomes NaN."""

    def mismatch(value: object) -> str | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"not a number, expected {name}"
        if _is_beyond(value, dtype):
            return f"beyond the range of {name}"
        if not _is_exact_double(value):
            return (
                "an integer that a double cannot hold exactly; write it as a decimal if rounding it is meant"
            )
        return None

    def build(values: Values) -> Array:
        doubles: Array = np.array(values, dtype=np.float64)
        if int in set(map(type, values)) and not all(map(_is_exact_double, values)):
            raise OverflowError
        if dtype == doubles.dtype:
            return doubles
        narrow: Array = _cast_unchecked(doubles, dtype)
        if (infinite := np.isinf(narrow)).any() and np.isfinite(doubles[infinite]).any():
            raise OverflowError
        return narrow

    return ScalarConverter(frozenset({float, int, _NONE_TYPE}), mismatch, build)


def _is_exact_double(value: object) -> bool:
    return (
        type(value) is not int
        or -MAX_EXACT_INTEGER <= value <= MAX_EXACT_INTEGER
        or int(float(value)) == value
    )


def _is_beyond(value: float, dtype: np.dtype[Any]) -> bool:
    """Return whether a finite number becomes infinite in the dtype."""
    if value != value or abs(value) == math.inf:  # noqa: PLR0124 - only NaN differs from itself
        return False
    return abs(value) > _DOUBLE_MAX or not np.isfinite(_cast_unchecked(np.float64(value), dtype))


def _cast_unchecked(doubles: Any, dtype: np.dtype[Any]) -> Any:
    with np.errstate(over="ignore"):
        return doubles.astype(dtype)


def _boolean_mismatch(value: object) -> str | None:
    if value is None:
        return "null, which a boolean cannot be"
    return None if isinstance(value, bool) else "not a boolean (true or false)"


def _build_booleans(values: Values) -> Array:
    return np.array(values, dtype=bool)


def _string_mismatch(value: object) -> str | None:
    return None if value is None or isinstance(value, str) else "not a string"


def _build_strings(values: Values) -> pd.Series:
    return pd.Series(list(values))


def _binary_mismatch(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        return "not a string of base64"
    try:
        _decode_base64(value)
    except (binascii.Error, ValueError):
        return "not base64"
    return None


def _build_binaries(values: Values) -> pd.Series:
    decoded = [None if value is None else _decode_base64(str(value)) for value in values]
    return pd.Series(decoded, dtype=object)


def _decode_base64(text: str) -> bytes:
    return base64.b64decode("".join(text.split()), validate=True)


def _datetime_mismatch(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _DATETIME_PATTERN.fullmatch(value):
        return "not an ISO 8601 date or date and time in a string"
    try:
        _build_datetimes([value])
    except (ValueError, OverflowError):
        return "not a date and time that exists, or beyond the years 1677 to 2262"
    return None


def _build_datetimes(values: Values) -> pd.Series:
    """Return nanoseconds without zone, as MLflow's datetime is; a time with a zone is converted to UTC."""
    if not all(
        value is None or (isinstance(value, str) and _DATETIME_PATTERN.fullmatch(value)) for value in values
    ):
        raise ValueError
    texts = pd.Series(list(values), dtype=object)
    try:
        parsed = pd.to_datetime(texts, format="ISO8601", utc=True)
    except ValueError:  # pandas does not take the lower case that RFC 3339 allows
        parsed = pd.to_datetime(texts.str.upper(), format="ISO8601", utc=True)
    return parsed.dt.tz_localize(None).dt.as_unit("ns")


BOOLEAN = ScalarConverter(frozenset({bool}), _boolean_mismatch, _build_booleans)
STRING = ScalarConverter(frozenset({str, _NONE_TYPE}), _string_mismatch, _build_strings)
DATETIME = ScalarConverter(frozenset({str, _NONE_TYPE}), _datetime_mismatch, _build_datetimes)
CONVERTERS: dict[DataType, ScalarConverter] = {
    DataType.boolean: BOOLEAN,
    DataType.integer: integer_converter(np.dtype(np.int32), "an integer"),
    DataType.long: integer_converter(np.dtype(np.int64), "a long"),
    DataType.float: float_converter(np.dtype(np.float32), "a float"),
    DataType.double: float_converter(np.dtype(np.float64), "a double"),
    DataType.string: STRING,
    DataType.binary: ScalarConverter(frozenset({str, _NONE_TYPE}), _binary_mismatch, _build_binaries),
    DataType.datetime: DATETIME,
}
