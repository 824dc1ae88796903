"""Arrow's columns: as the signature's types with whole arrays at once, value by value only in doubt."""

from __future__ import annotations

import base64
import datetime
import decimal
from typing import TYPE_CHECKING, Any, Final, overload

import numpy as np
import pandas as pd
import pyarrow as pa
from mlflow.types.schema import AnyType, DataType

from workers.codec.inputs.arrays import safe_cast
from workers.codec.inputs.columns import ColumnMismatch
from workers.codec.inputs.scalars import NonIntegralFloat
from workers.codec.inputs.sources import TypedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from workers.codec.signature import Column

Array = np.ndarray[Any, Any]

_MAX_EXACT_INTEGER: Final = 2**53  # every integer up to here is a double
_FRACTIONLESS_FROM: Final = 2**52  # from here on every double is whole, as `scalars.integers` has it
_CHUNK_ROWS: Final = 1024
_NANOSECONDS_PER_UNIT: Final = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_MAX_NANOSECONDS: Final = 2**63 - 1
_OUT_OF_RANGE: Final = "not a date and time that exists, or beyond the years 1677 to 2262"


class ArrowColumn(TypedColumn):
    """A column of an Arrow table, whose bytes have been validated."""

    def __init__(self, array: pa.ChunkedArray) -> None:
        self._array = _unwrap_types(array)

    def __len__(self) -> int:
        return len(self._array)

    @overload
    def __getitem__(self, position: int) -> object: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[object]: ...
    def __getitem__(self, position: int | slice) -> object:
        part = range(len(self))[position]
        if isinstance(part, int):
            return _json_values(self._array.slice(part, 1))[0]
        return [self[at] for at in part]

    def __iter__(self) -> Iterator[object]:
        for start in range(0, len(self), _CHUNK_ROWS):
            yield from _json_values(self._array.slice(start, _CHUNK_ROWS))

    def as_dtype(self, column: Column) -> Any | None:
        """As the base class says; a column of another family of types is refused whole."""
        if not isinstance(column.type, DataType) or pa.types.is_null(self._array.type):
            return None
        meant, fitted = _CONVERTERS[column.type]
        if not meant(self._array.type):
            found = _type_name(self._array.type)
            raise ColumnMismatch([(None, f"of Arrow's type {found}, where {column.type.name} is wanted")])
        return fitted(self._array, column.type.to_pandas())

    def as_json(self, column: Column) -> Sequence[object]:
        """As the base class says; a column of anything keeps Arrow's own Python values."""
        if isinstance(column.type, AnyType):
            return _to_pylist(self._array)
        return _json_values(self._array)

    def as_numeric_array(self) -> Array | None:
        """The values where they are numbers or booleans and none is null."""
        kind = self._array.type
        flat = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
        return np.array(self._array.to_numpy()) if flat and not self._array.null_count else None

    def as_numeric_matrix(self) -> Array | None:
        """Lists of one length of numbers, as the rows of an array."""
        if not _is_list(self._array.type) or self._array.null_count or not len(self._array):
            return None
        chunks = [chunk.flatten() for chunk in self._array.chunks]
        lengths = {
            length for chunk in self._array.chunks for length in chunk.value_lengths().unique().to_pylist()
        }
        cells = ArrowColumn(pa.chunked_array(chunks, type=self._array.type.value_type)).as_numeric_array()
        return (
            cells.reshape(len(self._array), lengths.pop())
            if cells is not None and len(lengths) == 1
            else None
        )

    def as_inferred(self) -> pd.Series[Any]:
        """As pandas takes Arrow's types; integers that null would round stay Python's."""
        array, kind = self._array, self._array.type
        if pa.types.is_timestamp(kind) and kind.tz is not None:
            array = array.cast(pa.timestamp(kind.unit, "UTC"))
        if pa.types.is_integer(kind) and array.null_count and not _are_exact_doubles(array.drop_null()):
            return pd.Series(_to_pylist(array), dtype=object)
        if pa.types.is_nested(kind):
            return pd.Series(_to_pylist(array), dtype=object)
        try:
            made: pd.Series[Any] = array.to_pandas(use_threads=False)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise _unreadable_value() from error
        return made


def _unwrap_types(array: pa.ChunkedArray) -> pa.ChunkedArray:
    """Extension types as what they are stored in, dictionaries as their values, dates as timestamps."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _unwrap_types(
            pa.chunked_array([chunk.storage for chunk in array.chunks], type=kind.storage_type)
        )
    if pa.types.is_dictionary(kind):
        decoded = [chunk.dictionary_decode() for chunk in array.chunks]
        return _unwrap_types(pa.chunked_array(decoded, type=kind.value_type))
    if pa.types.is_string_view(kind):
        return array.cast(pa.large_string())
    return array.cast(pa.large_binary()) if pa.types.is_binary_view(kind) else array


def _json_values(array: pa.ChunkedArray) -> list[object]:
    return [_json_value(value) for value in _to_pylist(array)]


def _to_pylist(array: pa.ChunkedArray) -> list[object]:
    try:
        made: list[object] = array.to_pylist(maps_as_pydicts="strict")
    except Exception as error:  # whatever Python's dates and zones raise for what they cannot hold
        raise _unreadable_value() from error
    return made


def _unreadable_value() -> ColumnMismatch:
    return ColumnMismatch(
        [(None, "holds a value that cannot be read (a date beyond Python's, a name that stands twice)")]
    )


def _json_value(value: object) -> object:
    """One of Arrow's Python values as JSON has it."""
    made = _JSON_CONVERTERS.get(type(value))
    if made is not None:
        return made(value)
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else value


def _to_integers(array: pa.ChunkedArray, dtype: np.dtype[Any]) -> Array | None:
    if array.null_count or pa.types.is_decimal(array.type):
        return None
    values: Array = array.to_numpy()
    if values.dtype.kind == "f":
        values = values.astype(np.float64, copy=False)
    limits = np.iinfo(dtype)
    if values.dtype.kind == "f" and not (np.abs(values) < _FRACTIONLESS_FROM).all():
        return None
    if len(values) and not (limits.min <= values.min().item() and values.max().item() <= limits.max):
        return None
    if values.dtype.kind == "f" and (values != np.trunc(values)).any():
        return None
    return values.astype(dtype)


def _to_floats(array: pa.ChunkedArray, dtype: np.dtype[Any]) -> Array | None:
    if pa.types.is_decimal(array.type):
        return None
    if pa.types.is_floating(array.type):
        made = safe_cast(array.to_numpy(), dtype)
        return None if made is None else np.array(made)
    if not _are_exact_doubles(array.drop_null()):
        return None
    values: Array = array.fill_null(0).to_numpy().astype(np.float64)
    if array.null_count:
        values[array.is_null().to_numpy()] = np.nan
    return values.astype(dtype, copy=False)


def _are_exact_doubles(integers: pa.ChunkedArray) -> bool:
    values: Array = integers.to_numpy()
    return not len(values) or max(-values.min().item(), values.max().item()) <= _MAX_EXACT_INTEGER


def _to_booleans(array: pa.ChunkedArray, dtype: np.dtype[Any]) -> Array | None:
    return None if array.null_count else np.array(array.to_numpy(), dtype=dtype)


def _to_strings(array: pa.ChunkedArray, _: object) -> pd.Series[Any]:
    if array.null_count == len(array):
        return pd.Series([None] * len(array), dtype=object)
    made: pd.Series[Any] = array.to_pandas(use_threads=False)
    return made


def _to_binaries(array: pa.ChunkedArray, _: object) -> pd.Series[Any]:
    return pd.Series(array.to_pylist(), dtype=object)


def _to_datetimes(array: pa.ChunkedArray, _: object) -> pd.Series[Any] | None:
    """Nanoseconds without zone, as MLflow's datetime is; Arrow counts in UTC where there is a zone."""
    kind = array.type
    if not pa.types.is_temporal(kind):
        return None  # texts
    if not pa.types.is_timestamp(kind):
        array = array.cast(pa.timestamp("s" if pa.types.is_date32(kind) else "ms"))
    factor = _NANOSECONDS_PER_UNIT[array.type.unit]
    counts: Array = array.cast(pa.int64()).fill_null(0).to_numpy()
    most = _MAX_NANOSECONDS // factor
    if (far := np.flatnonzero((counts > most) | (counts < -most))).size:
        raise ColumnMismatch([(int(row), _OUT_OF_RANGE) for row in far])
    made = (counts * factor).view("datetime64[ns]")
    made[array.is_null().to_numpy()] = np.datetime64("NaT")
    return pd.Series(made)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    )


def _is_datetime(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind) or _is_text(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _type_name(kind: pa.DataType) -> str:
    """A type as the caller is told it; never what a caller chose, as the names of zones and fields are."""
    if pa.types.is_primitive(kind):
        return str(kind).partition("[")[0]
    names = {"text": _is_text, "binary": _is_binary, "list": _is_list, "decimal": pa.types.is_decimal}
    return next((name for name, test in names.items() if test(kind)), "struct or map")


_JSON_CONVERTERS: dict[type, Callable[[Any], object]] = {
    float: lambda value: None if value != value else value,  # noqa: PLR0124 - NaN is what differs from itself
    list: lambda value: [_json_value(item) for item in value],
    dict: lambda value: {name: _json_value(item) for name, item in value.items()},
    bytes: lambda value: base64.b64encode(value).decode(),
    decimal.Decimal: lambda value: (
        int(value) if value == value.to_integral_value() else NonIntegralFloat(value)
    ),
}
_CONVERTERS: dict[DataType, tuple[Callable[[pa.DataType], bool], Callable[[pa.ChunkedArray, Any], Any]]] = {
    DataType.boolean: (pa.types.is_boolean, _to_booleans),
    DataType.integer: (_is_number, _to_integers),
    DataType.long: (_is_number, _to_integers),
    DataType.float: (_is_number, _to_floats),
    DataType.double: (_is_number, _to_floats),
    DataType.string: (_is_text, _to_strings),
    DataType.binary: (_is_binary, _to_binaries),
    DataType.datetime: (_is_datetime, _to_datetimes),
}
