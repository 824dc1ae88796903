"""Columns of Arrow data as the signature's types: as a whole if possible, else value by value."""

from __future__ import annotations

import base64
import datetime
import decimal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, overload

import numpy as np
import pandas as pd
import pyarrow as pa
from mlflow.types.schema import AnyType, DataType

from workers.codec.arrow.types import is_binary, is_datetime, is_list, is_number, is_text, type_name
from workers.codec.input_errors import first_problems
from workers.codec.inputs.arrays import FRACTIONLESS_FROM, MAX_EXACT_INTEGER, safe_cast, to_datetimes
from workers.codec.inputs.columns import ColumnMismatch
from workers.codec.inputs.scalars import NonIntegralFloat
from workers.codec.inputs.typed_column import TypedColumn
from workers.codec.signature import Column

Array = np.ndarray[Any, Any]

_CHUNK_ROWS: Final = 1024
_OUT_OF_RANGE: Final = "not a date and time that exists, or beyond the years 1677 to 2262"


class ArrowColumn(TypedColumn):
    """A column of a validated Arrow table."""

    def __init__(self, array: pa.ChunkedArray) -> None:
        self._array = _unwrap_types(array)

    def __len__(self) -> int:
        return len(self._array)

    @overload
    def __getitem__(self, position: int) -> object: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[object]: ...
    def __getitem__(self, position: int | slice) -> object:
        selected = range(len(self))[position]
        if isinstance(selected, int):
            return _json_values(self._array.slice(selected, 1))[0]
        return [self[row] for row in selected]

    def __iter__(self) -> Iterator[object]:
        for start in range(0, len(self), _CHUNK_ROWS):
            yield from _json_values(self._array.slice(start, _CHUNK_ROWS))

    def as_dtype(self, column: Column) -> Any | None:
        """See TypedColumn. Raises ColumnMismatch for the whole column if its type is of another family."""
        if not isinstance(column.type, DataType) or pa.types.is_null(self._array.type):
            return None
        accepts, convert = _CONVERTERS[column.type]
        if not accepts(self._array.type):
            actual = type_name(self._array.type)
            raise ColumnMismatch([(None, f"of Arrow's type {actual}, expected {column.type.name}")])
        return convert(self._array, column.type.to_pandas())

    def as_json(self, column: Column) -> Sequence[object]:
        """See TypedColumn; a column of any type keeps the Python values of Arrow."""
        if isinstance(column.type, AnyType):
            return _to_pylist(self._array)
        return _json_values(self._array)

    def as_numeric_array(self) -> Array | None:
        """Return the values if they are numbers or booleans and none is null."""
        arrow_type = self._array.type
        flat = (
            pa.types.is_integer(arrow_type)
            or pa.types.is_floating(arrow_type)
            or pa.types.is_boolean(arrow_type)
        )
        return np.array(self._array.to_numpy()) if flat and not self._array.null_count else None

    def as_numeric_matrix(self) -> Array | None:
        """Return lists of numbers as the rows of an array, or None if they differ in length."""
        if not is_list(self._array.type) or self._array.null_count or not len(self._array):
            return None
        chunks = self._array.chunks
        lengths = {length for chunk in chunks for length in chunk.value_lengths().unique().to_pylist()}
        flat = pa.chunked_array([chunk.flatten() for chunk in chunks], type=self._array.type.value_type)
        values = ArrowColumn(flat).as_numeric_array()
        if values is None or len(lengths) != 1:
            return None
        return values.reshape(len(self._array), lengths.pop())

    def as_inferred(self) -> pd.Series[Any]:
        """See TypedColumn; integers that a null would round become Python objects."""
        array, arrow_type = self._array, self._array.type
        if pa.types.is_timestamp(arrow_type) and arrow_type.tz is not None:
            array = array.cast(pa.timestamp(arrow_type.unit, "UTC"))
        if pa.types.is_integer(arrow_type) and array.null_count and not _are_exact_doubles(array.drop_null()):
            return pd.Series(_to_pylist(array), dtype=object)
        if pa.types.is_nested(arrow_type):
            return pd.Series(_to_pylist(array), dtype=object)
        try:
            series: pd.Series[Any] = array.to_pandas(use_threads=False)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise _unreadable_value() from error
        return series


def _unwrap_types(array: pa.ChunkedArray) -> pa.ChunkedArray:
    """Replace extension types by their storage, dictionaries by their values, views by text and bytes."""
    arrow_type = array.type
    if isinstance(arrow_type, pa.BaseExtensionType):
        stored = [chunk.storage for chunk in array.chunks]
        return _unwrap_types(pa.chunked_array(stored, type=arrow_type.storage_type))
    if pa.types.is_dictionary(arrow_type):
        decoded = [chunk.dictionary_decode() for chunk in array.chunks]
        return _unwrap_types(pa.chunked_array(decoded, type=arrow_type.value_type))
    if pa.types.is_string_view(arrow_type):
        return array.cast(pa.large_string())
    return array.cast(pa.large_binary()) if pa.types.is_binary_view(arrow_type) else array


def _json_values(array: pa.ChunkedArray) -> list[object]:
    return [_json_value(value) for value in _to_pylist(array)]


def _to_pylist(array: pa.ChunkedArray) -> list[object]:
    try:
        values: list[object] = array.to_pylist(maps_as_pydicts="strict")
    except Exception as error:  # Python's dates and zones raise many types for what they cannot hold
        raise _unreadable_value() from error
    return values


def _unreadable_value() -> ColumnMismatch:
    return ColumnMismatch(
        [(None, "holds a value that cannot be read (a date beyond Python's range, or a duplicate name)")]
    )


def _json_value(value: object) -> object:
    """Return one of Arrow's Python values as JSON has it."""
    convert = _JSON_CONVERTERS.get(type(value))
    if convert is not None:
        return convert(value)
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else value


def _to_integers(array: pa.ChunkedArray, dtype: np.dtype[Any]) -> Array | None:
    if array.null_count or pa.types.is_decimal(array.type):
        return None
    values: Array = array.to_numpy()
    if values.dtype.kind == "f":
        values = values.astype(np.float64, copy=False)
        if not (np.abs(values) < FRACTIONLESS_FROM).all() or (values != np.trunc(values)).any():
            return None
    limits = np.iinfo(dtype)
    if len(values) and not (limits.min <= values.min().item() and values.max().item() <= limits.max):
        return None
    return values.astype(dtype)


def _to_floats(array: pa.ChunkedArray, dtype: np.dtype[Any]) -> Array | None:
    if pa.types.is_decimal(array.type):
        return None
    if pa.types.is_floating(array.type):
        cast = safe_cast(array.to_numpy(), dtype)
        return None if cast is None else np.array(cast)
    if not _are_exact_doubles(array.drop_null()):
        return None
    values: Array = array.fill_null(0).to_numpy().astype(np.float64)
    if array.null_count:
        values[array.is_null().to_numpy()] = np.nan
    return values.astype(dtype, copy=False)


def _are_exact_doubles(integers: pa.ChunkedArray) -> bool:
    values: Array = integers.to_numpy()
    return not len(values) or max(-values.min().item(), values.max().item()) <= MAX_EXACT_INTEGER


def _to_booleans(array: pa.ChunkedArray, dtype: np.dtype[Any]) -> Array | None:
    return None if array.null_count else np.array(array.to_numpy(), dtype=dtype)


def _to_strings(array: pa.ChunkedArray, _: object) -> pd.Series[Any]:
    if array.null_count == len(array):
        return pd.Series([None] * len(array), dtype=object)
    series: pd.Series[Any] = array.to_pandas(use_threads=False)
    return series


def _to_binaries(array: pa.ChunkedArray, _: object) -> pd.Series[Any]:
    return pd.Series(array.to_pylist(), dtype=object)


def _to_datetimes(array: pa.ChunkedArray, _: object) -> pd.Series[Any] | None:
    """Return nanoseconds without zone, as MLflow's datetime is; Arrow stores a time with a zone in UTC."""
    if not pa.types.is_temporal(array.type):
        return None  # text
    if not pa.types.is_timestamp(array.type):
        array = array.cast(pa.timestamp("s" if pa.types.is_date32(array.type) else "ms"))
    counts: Array = array.cast(pa.int64()).fill_null(0).to_numpy()
    datetimes, out_of_range = to_datetimes(counts, array.type.unit)
    if out_of_range:
        raise ColumnMismatch(first_problems((row, _OUT_OF_RANGE) for row in out_of_range))
    datetimes[array.is_null().to_numpy()] = np.datetime64("NaT", "ns")
    return pd.Series(datetimes)


_JSON_CONVERTERS: dict[type, Callable[[Any], object]] = {
    float: lambda value: None if value != value else value,  # noqa: PLR0124 - only NaN differs from itself
    list: lambda value: [_json_value(item) for item in value],
    dict: lambda value: {name: _json_value(item) for name, item in value.items()},
    bytes: lambda value: base64.b64encode(value).decode(),
    decimal.Decimal: lambda value: (
        int(value) if value == value.to_integral_value() else NonIntegralFloat(value)
    ),
}
_CONVERTERS: dict[DataType, tuple[Callable[[pa.DataType], bool], Callable[[pa.ChunkedArray, Any], Any]]] = {
    DataType.boolean: (pa.types.is_boolean, _to_booleans),
    DataType.integer: (is_number, _to_integers),
    DataType.long: (is_number, _to_integers),
    DataType.float: (is_number, _to_floats),
    DataType.double: (is_number, _to_floats),
    DataType.string: (is_text, _to_strings),
    DataType.binary: (is_binary, _to_binaries),
    DataType.datetime: (is_datetime, _to_datetimes),
}
