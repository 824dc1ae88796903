"""Columns of texts from CSV as the signature's types, whole columns at once; cell by cell only in doubt."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, overload

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from mlflow.types.schema import AnyType, DataType

from workers.codec.arrow.columns import ArrowColumn
from workers.codec.inputs.arrays import safe_cast
from workers.codec.inputs.scalars import NonIntegralFloat
from workers.codec.inputs.sources import TypedColumn
from workers.codec.json import text as json_text
from workers.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from workers.codec.signature import Column

_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER: Final = re.compile(r"[+-]?\d{1,400}", re.ASCII)
_SHORT_INTEGERS: Final = r"^-?[0-9]{1,18}$"
_DECIMALS: Final = r"^-?([0-9]{1,15}|[0-9]+\.[0-9]+([eE][+-]?[0-9]+)?)$"
_NON_FINITE: Final = {"nan": np.nan, "inf": np.inf, "infinity": np.inf, "-inf": -np.inf, "-infinity": -np.inf}
_MAX_EXPONENT_DIGITS: Final = 1000  # characters; beyond, only the sign matters
_OVERFLOW: Final = 10**400  # what stands for a number that no double is near to
_BOOLEANS: Final = {"true": True, "false": False}


class CsvColumn(TypedColumn):
    """A column of a CSV body; `natural` says how a cell is read where no column's type does."""

    def __init__(
        self, array: pa.ChunkedArray, *, parse_cell: Callable[[str | None], object] = lambda text: text
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
        """As the base class says."""
        if column.type == DataType.string:
            return ArrowColumn(self._array).as_dtype(column)
        fitted = _CONVERTERS.get(column.type) if isinstance(column.type, DataType) else None
        return fitted(pc.utf8_trim(self._array, " "), column.type.to_pandas()) if fitted else None

    def as_json(self, column: Column) -> Sequence[object]:
        """As the base class says; a list or an object stands in its cell as JSON."""
        if isinstance(column.type, DataType):
            read = _PARSERS.get(column.type, _strip)
        else:
            read = _keep_text if isinstance(column.type, AnyType) else _parse_json
        return [read(text) for text in self._array.to_pylist()]

    def as_inferred(self) -> pd.Series[Any]:
        """Texts; `workers.codec.csv_body` lets pandas infer types instead."""
        return pd.Series(self._array.to_pylist())


def parse_number(text: str | None) -> object:
    """A cell as a number, or as the text that it is where it is none; an empty one is null."""
    plain = text.strip(" ") if text else ""
    if not plain:
        return None
    if _INTEGER.fullmatch(plain):
        return int(plain)
    if not _NUMBER.fullmatch(plain):
        return text
    made = float(plain)
    if not math.isfinite(made):
        return _OVERFLOW if made > 0 else -_OVERFLOW
    return NonIntegralFloat(made) if made.is_integer() and _has_fraction(plain) else made


def _has_fraction(plain: str) -> bool:
    """Whether a decimal that is finite as a double is not whole as it is written."""
    mantissa, _, exponent = plain.lower().partition("e")
    whole, _, part = mantissa.partition(".")
    digits = (whole + part).rstrip("0")
    if not digits.strip("+-0"):
        return False  # zero
    if len(exponent) > _MAX_EXPONENT_DIGITS:
        return "-" in exponent
    return int(exponent or 0) + len(whole) - len(digits) < 0


def parse_boolean(text: str | None) -> object:
    """A cell as a boolean, or as the text that it is where it is none; an empty one is null."""
    return _BOOLEANS.get(text.strip(" ").lower(), text) if text else None


def parse_decimal(text: str | None) -> object:
    """As `number`, and NaN is null."""
    return None if text and text.strip(" ").lower() == "nan" else parse_number(text)


def _strip(text: str | None) -> object:
    return text.strip(" ") if text else None


def _keep_text(text: str | None) -> object:
    return text


def _parse_json(text: str | None) -> object:
    """A cell's JSON; what is none stays a text, which no list and no object is."""
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
    """Decimals, and integers that a double holds for sure; what is not finite is left for a closer look."""
    if not _all_match(array, _DECIMALS):
        return _to_floats_with_non_finite(array, dtype)
    values = array.cast(pa.float64()).to_numpy()
    if np.isinf(values).any():
        return None  # beyond a double's range
    made = safe_cast(values, dtype)
    return None if made is None else np.array(made)


def _to_floats_with_non_finite(array: pa.ChunkedArray, dtype: np.dtype[Any]) -> np.ndarray[Any, Any] | None:
    """A column in which NaN and infinities are written out; no other text is taken for one."""
    texts = pc.utf8_lower(array)
    known = pc.is_in(texts, value_set=pa.array(list(_NON_FINITE)))
    rest = pc.if_else(known, pa.scalar(None, pa.string()), array)
    values = _to_floats(rest, dtype) if pc.any(known).as_py() else None
    if values is None:
        return None
    for at in np.flatnonzero(known.to_numpy()):
        values[at] = _NON_FINITE[texts[int(at)].as_py()]
    return values


def _to_booleans(array: pa.ChunkedArray, dtype: np.dtype[Any]) -> np.ndarray[Any, Any] | None:
    texts = pc.utf8_lower(array)
    if array.null_count or not pc.all(pc.is_in(texts, value_set=pa.array(list(_BOOLEANS)))).as_py():
        return None
    return np.array(pc.equal(texts, "true").to_numpy(), dtype=dtype)


def _all_match(array: pa.ChunkedArray, pattern: str) -> bool:
    """Whether all cells that are not null match; Arrow's `$` is the very end of a text."""
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
    DataType.binary: _keep_text,
    DataType.integer: parse_number,
    DataType.long: parse_number,
    DataType.float: parse_decimal,
    DataType.double: parse_decimal,
}
