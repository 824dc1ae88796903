"""Columns of CSV text as the signature's types: as a whole if possible, else cell by cell."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, overload

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from mlflow.types.schema import AnyType, DataType

from workers.codec.arrow.columns import ArrowColumn
from workers.codec.inputs.arrays import safe_cast
from workers.codec.inputs.scalars import NonIntegralFloat
from workers.codec.inputs.typed_column import TypedColumn
from workers.codec.json import text as json_text
from workers.codec.signature import Column
from workers.errors import InvalidInput

_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER: Final = re.compile(r"[+-]?\d{1,400}", re.ASCII)
_SHORT_INTEGERS: Final = r"^-?[0-9]{1,18}$"
_DECIMALS: Final = r"^-?([0-9]{1,15}|[0-9]+\.[0-9]+([eE][+-]?[0-9]+)?)$"
_NON_FINITE: Final = {
    "nan": np.nan,
    **dict.fromkeys(("inf", "infinity", "+inf", "+infinity"), np.inf),
    **dict.fromkeys(("-inf", "-infinity"), -np.inf),
}
_MAX_EXPONENT_DIGITS: Final = 1000  # of a longer exponent only the sign matters
_OVERFLOW: Final = 10**400  # replaces a number beyond the range of a double
_BOOLEANS: Final = {"true": True, "false": False}


def keep_text(text: str | None) -> object:
    """Return a cell unchanged."""
    return text


class CsvColumn(TypedColumn):
    """A column of a CSV body; `parse_cell` gives its values as a sequence."""

    def __init__(
        self, array: pa.ChunkedArray, *, parse_cell: Callable[[str | None], object] = keep_text
    ) -> None:
        self._array = array
        self._parse_cell = parse_cell

    def __len__(self) -> int:
        return len(self._array)

    @overload
    def __getitem__(self, position: int) -> object: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[object]: ...
    def __getitem__(self, position: int | slice) -> object:
        return list(self)[position]

    def __iter__(self) -> Iterator[object]:
        for text in self._array:
            yield self._parse_cell(text.as_py())

    def as_dtype(self, column: Column) -> Any | None:
        """See TypedColumn."""
        if column.type == DataType.string:
            return ArrowColumn(self._array).as_dtype(column)
        convert = _CONVERTERS.get(column.type) if isinstance(column.type, DataType) else None
        return convert(pc.utf8_trim(self._array, " "), column.type.to_pandas()) if convert else None

    def as_json(self, column: Column) -> Sequence[object]:
        """See TypedColumn; a list or an object is written in its cell as JSON."""
        if isinstance(column.type, DataType):
            parse = _PARSERS.get(column.type, _strip)
        else:
            parse = keep_text if isinstance(column.type, AnyType) else _parse_json
        return [parse(text) for text in self._array.to_pylist()]

    def as_inferred(self) -> pd.Series[Any]:
        """Return text; `csv.body` lets pandas infer types instead."""
        return pd.Series(self._array.to_pylist())


def parse_number(text: str | None) -> object:
    """Return a cell as a number, an empty one as None, and one that is no number unchanged."""
    stripped = text.strip(" ") if text else ""
    if not stripped:
        return None
    if _INTEGER.fullmatch(stripped):
        return int(stripped)
    if not _NUMBER.fullmatch(stripped):
        return text
    number = float(stripped)
    if not math.isfinite(number):
        return _OVERFLOW if number > 0 else -_OVERFLOW
    return NonIntegralFloat(number) if number.is_integer() and _has_fraction(stripped) else number


def _has_fraction(decimal: str) -> bool:
    """Return whether a decimal has a fraction as it is written; as a double it is finite."""
    mantissa, _, exponent = decimal.lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).rstrip("0")
    if not digits.strip("+-0"):
        return False  # zero
    if len(exponent) > _MAX_EXPONENT_DIGITS:
        return "-" in exponent
    return int(exponent or 0) + len(whole) - len(digits) < 0


def parse_boolean(text: str | None) -> object:
    """Return a cell as a boolean, an empty one as None, and one that is no boolean unchanged."""
    return _BOOLEANS.get(text.strip(" ").lower(), text) if text else None


def parse_decimal(text: str | None) -> object:
    """Return a cell as `parse_number` does, but NaN and infinities as floats."""
    number = parse_number(text)
    return _NON_FINITE.get(number.strip(" ").lower(), number) if isinstance(number, str) else number


def _strip(text: str | None) -> object:
    return text.strip(" ") if text else None


def _parse_json(text: str | None) -> object:
    """Return a cell's JSON; invalid JSON stays text, which fits neither a list nor an object."""
    if not text:
        return None
    try:
        return json_text.parse_json(text.encode())
    except InvalidInput:
        return text


def _to_integers(array: pa.ChunkedArray, dtype: np.dtype[Any]) -> np.ndarray[Any, Any] | None:
    if array.null_count or not _all_match(array, _SHORT_INTEGERS):
        return None
    values: np.ndarray[Any, Any] = array.cast(pa.int64()).to_numpy()
    limits = np.iinfo(dtype)
    if len(values) and not (limits.min <= values.min() and values.max() <= limits.max):
        return None
    return values.astype(dtype)


def _to_floats(array: pa.ChunkedArray, dtype: np.dtype[Any]) -> np.ndarray[Any, Any] | None:
    """Convert decimals, and integers that are short enough for a double to be exact."""
    if not _all_match(array, _DECIMALS):
        return _to_floats_with_non_finite(array, dtype)
    values = array.cast(pa.float64()).to_numpy()
    if np.isinf(values).any():
        return None  # a number is beyond the range of a double
    cast = safe_cast(values, dtype)
    return None if cast is None else np.array(cast)


def _to_floats_with_non_finite(array: pa.ChunkedArray, dtype: np.dtype[Any]) -> np.ndarray[Any, Any] | None:
    """Convert a column in which NaN and infinities are written out."""
    texts = pc.utf8_lower(array)
    is_non_finite = pc.is_in(texts, value_set=pa.array(list(_NON_FINITE)))
    if not pc.any(is_non_finite).as_py():
        return None
    values = _to_floats(pc.if_else(is_non_finite, pa.scalar(None, pa.string()), array), dtype)
    if values is None:
        return None
    for row in np.flatnonzero(is_non_finite.to_numpy()):
        values[row] = _NON_FINITE[texts[int(row)].as_py()]
    return values


def _to_booleans(array: pa.ChunkedArray, dtype: np.dtype[Any]) -> np.ndarray[Any, Any] | None:
    texts = pc.utf8_lower(array)
    if array.null_count or not pc.all(pc.is_in(texts, value_set=pa.array(list(_BOOLEANS)))).as_py():
        return None
    return np.array(pc.equal(texts, "true").to_numpy(), dtype=dtype)


def _all_match(array: pa.ChunkedArray, pattern: str) -> bool:
    """Return whether all cells but null match; in Arrow `$` matches only at the end of the text."""
    return pc.all(pc.match_substring_regex(array, pattern)).as_py() is not False


_CONVERTERS: dict[DataType, Callable[[pa.ChunkedArray, Any], Any]] = {
    DataType.boolean: _to_booleans,
    DataType.integer: _to_integers,
    DataType.long: _to_integers,
    DataType.float: _to_floats,
    DataType.double: _to_floats,
}
_PARSERS: dict[DataType, Callable[[str | None], object]] = {
    DataType.boolean: parse_boolean,
    DataType.binary: keep_text,
    DataType.integer: parse_number,
    DataType.long: parse_number,
    DataType.float: parse_decimal,
    DataType.double: parse_decimal,
}
