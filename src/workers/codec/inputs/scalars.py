"""JSON values as one scalar type, exactly: what loses something is told why it does not fit."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mlflow.types.schema import DataType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Values = Sequence[object]
    Array = np.ndarray[Any, Any]

_MAX_EXACT_INTEGER = 2**53  # every integer up to here is a double
_FRACTIONLESS_FROM = 2**52  # from here on every double is whole, whatever fraction was written
_DOUBLE_MAX = float(np.finfo(np.float64).max)
_NONE_TYPE = type(None)
_DATETIME_PATTERN = re.compile(
    r"\d{4}(-\d{2}-\d{2}|\d{4})([T ]\d{2}(:?\d{2}(:?\d{2}(\.\d{1,9})?)?)? ?(Z|[+-]\d{2}(:?\d{2})?)?)?",
    re.ASCII,
)


class NonIntegralFloat(float):
    """A number with a fraction, also where the double next to it has none."""

    __slots__ = ()

    def is_integer(self) -> bool:
        """As the number was before it was rounded."""
        return False


@dataclass(frozen=True, slots=True)
class ScalarConverter:
    """How one scalar type is read.

    Values whose Python types are all in `safe` go to `build` at once, which raises ValueError or
    OverflowError where one does not fit after all; the others are asked one by one `why` they do not.
    """

    fast_types: frozenset[type]
    mismatch: Callable[[object], str | None]
    build: Callable[[Values], Any]

    def convert(self, values: Values) -> tuple[Any, list[tuple[int, str]]]:
        """What `build` makes of the values, or None; the positions and reasons of those that do not fit."""
        if self.fast_types.issuperset(map(type, values)):
            try:
                return self.build(values), []
            except (OverflowError, ValueError):
                pass  # one of them is out of range: find which
        bad = [(row, reason) for row, value in enumerate(values) if (reason := self.mismatch(value))]
        return (None, bad) if bad else (self.build(values), [])


def integer_converter(dtype: np.dtype[Any], name: str) -> ScalarConverter:
    """Whole numbers of an integer dtype; `name` is the type's, with its article.

    A float is judged as the double that it is: a fraction that a parser rounded off is seen in a
    `NonIntegralFloat` only. Hence none of 2^52 or more is taken, where doubles have no fractions left.
    """
    limits = np.iinfo(dtype)
    low, high, bits = int(limits.min), int(limits.max), limits.bits

    def why(value: object) -> str | None:
        if value is None:
            return f"null, which {name} cannot be"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"not a number, where {name} is wanted"
        if (
            isinstance(value, float)
            and abs(value) >= _FRACTIONLESS_FROM
            and not isinstance(value, NonIntegralFloat)
        ):
            return "written as a decimal of 2^52 or more, where it may not be exact; write it as an integer"
        if isinstance(value, float) and not value.is_integer():
            return f"has a fraction, where {name} is wanted"
        return None if low <= value <= high else f"beyond the range of {name} ({bits} bits)"

    def build(values: Values) -> Array:
        whole = map(int, values)  # type: ignore[arg-type] # numbers, by `why`
        return np.array(list(whole), dtype=dtype)

    return ScalarConverter(frozenset({int}), why, build)


def float_converter(dtype: np.dtype[Any], name: str) -> ScalarConverter:
    """Numbers rounded to the nearest of a floating dtype, but not beyond its range; null is NaN."""

    def why(value: object) -> str | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"not a number, where {name} is wanted"
        if abs(value) > _DOUBLE_MAX or not np.isfinite(_cast_unchecked(np.float64(value), dtype)):
            return f"beyond the range of {name}"
        if not _is_exact_double(value):
            return (
                "an integer that a double cannot hold exactly; write it as a decimal if rounding it is meant"
            )
        return None

    def build(values: Values) -> Array:
        wide: Array = np.array(values, dtype=np.float64)
        if int in set(map(type, values)) and not all(map(_is_exact_double, values)):
            raise OverflowError
        if dtype == wide.dtype:
            return wide
        narrow: Array = _cast_unchecked(wide, dtype)
        if np.isinf(narrow).any():
            raise OverflowError
        return narrow

    return ScalarConverter(frozenset({float, int, _NONE_TYPE}), why, build)


def _is_exact_double(value: object) -> bool:
    return (
        type(value) is not int
        or -_MAX_EXACT_INTEGER <= value <= _MAX_EXACT_INTEGER
        or int(float(value)) == value
    )


def _cast_unchecked(wide: Any, dtype: np.dtype[Any]) -> Any:
    with np.errstate(over="ignore"):
        return wide.astype(dtype)


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
        _build_timestamps([value])
    except (ValueError, OverflowError):
        return "not a date and time that exists, or beyond the years 1677 to 2262"
    return None


def _build_timestamps(values: Values) -> pd.Series:
    """Nanoseconds without zone, as MLflow's datetime is; what has a zone becomes UTC."""
    if not all(
        value is None or (isinstance(value, str) and _DATETIME_PATTERN.fullmatch(value)) for value in values
    ):
        raise ValueError
    parsed = pd.to_datetime(pd.Series(list(values), dtype=object), format="ISO8601", utc=True)
    return parsed.dt.tz_localize(None).dt.as_unit("ns")


BOOLEAN = ScalarConverter(frozenset({bool}), _boolean_mismatch, _build_booleans)
STRING = ScalarConverter(frozenset({str, _NONE_TYPE}), _string_mismatch, _build_strings)
DATETIME = ScalarConverter(frozenset({str, _NONE_TYPE}), _datetime_mismatch, _build_timestamps)
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
