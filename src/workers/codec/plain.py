"""Predictions of other libraries' types, as values that all answer formats know.

Tensors become arrays; tables of Arrow and polars, DataFrames; iterators, views and sets, lists. No library
is imported for that: a value of its type is only there if the model has imported it.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import io
import ipaddress
import sys
import types
import uuid
from collections.abc import ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from functools import singledispatch
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import BaseModel

from workers.errors import ModelError

MAX_ITEMS = 2**22
MAX_BYTES = 2**29
"""What an iterator may yield, with the iterators in it; an endless one ends there."""

_SCALARS = frozenset({str, bytes, int, float, bool, type(None)})


@singledispatch
def to_plain(value: Any) -> Any:
    """Return `value`, its outermost level, as an array, a DataFrame, a list, a dict, a number or a text.

    A value that the formats know, or that has no such form, is returned as it is. An iterator is consumed.
    Raises ModelError if it does not end, and what its code raises.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "toarray"):  # scipy's sparse matrices
        return np.asarray(value.toarray())
    for module, convert in _LIBRARIES.items():
        if (library := sys.modules.get(module)) is not None:
            plain = convert(library, value)
            if plain is not value:
                return plain
    return _to_known_dtype(np.asarray(value)) if hasattr(type(value), "__array__") else value


def to_plain_items(values: Sequence[Any]) -> list[Any]:
    """Return a list whose items are plain; tensors of a single value become scalars."""
    if _SCALARS.issuperset(map(type, values)):
        return list(values)
    return [_to_plain_item(value) for value in values]


def take_all(iterator: Iterator[Any]) -> list[Any]:
    """Return what an iterator yields, with the iterators among its items as lists. Raises as `to_plain`."""
    try:
        return _Budget().take(iterator)
    except RecursionError:
        raise ModelError("The model returned iterators that are nested too deeply.") from None


class _Budget:
    """The number of items and of bytes that the iterators of one answer may yield."""

    def __init__(self) -> None:
        self._items = 0
        self._bytes = 0

    def take(self, iterator: Iterator[Any]) -> list[Any]:
        if isinstance(iterator, io.IOBase):
            name = type(iterator).__name__
            raise ModelError(f"The model returned a file ({name}), which is no prediction.", exception=name)
        taken = []
        for item in iterator:
            is_scalar = type(item) in _SCALARS
            self._items += 1
            self._bytes += sys.getsizeof(item) if is_scalar else _size(item)
            if self._items > MAX_ITEMS or self._bytes > MAX_BYTES:
                bound = f"{MAX_ITEMS} items" if self._items > MAX_ITEMS else f"{MAX_BYTES} bytes"
                raise ModelError(f"The model returned an iterator that does not end within {bound}.")
            taken.append(self.take(item) if not is_scalar and isinstance(item, Iterator) else item)
        return taken


def _size(value: Any) -> int:
    """Return about as many bytes as a value takes."""
    size = sys.getsizeof(value, 64)
    if type(value) in _SCALARS:
        return size
    if isinstance(value, list | tuple | AbstractSet):
        return size + sum(map(_size, value))
    if isinstance(value, Mapping):
        return size + sum(map(_size, value.values()))
    nbytes = getattr(value, "nbytes", 0)
    return max(size, nbytes) if isinstance(nbytes, int) else size


def _to_plain_item(value: Any) -> Any:
    plain = to_plain(value)
    return plain[()] if isinstance(plain, np.ndarray) and plain.ndim == 0 else plain


def _identity(value: Any) -> Any:
    return value


for _known in (
    *(type(None), str, bytes, bytearray, memoryview, int, float, complex, decimal.Decimal, list, tuple, dict),
    *(datetime.date, datetime.time, datetime.timedelta, np.ndarray, np.generic),
    *(pd.DataFrame, pd.Series, pd.Index, pd.api.extensions.ExtensionArray),
):
    to_plain.register(_known, _identity)
to_plain.register(Iterator, take_all)
to_plain.register(Sequence, list)
to_plain.register(KeysView, list)
to_plain.register(ItemsView, list)
to_plain.register(ValuesView, list)
to_plain.register(Mapping, dict)
to_plain.register(types.SimpleNamespace, vars)
to_plain.register(BaseModel, lambda value: value.model_dump())
to_plain.register(enum.Enum, lambda value: to_plain(value.value))
to_plain.register(uuid.UUID, str)
to_plain.register(PurePath, str)
to_plain.register(ipaddress.IPv4Address, str)
to_plain.register(ipaddress.IPv6Address, str)
to_plain.register(pa.Table, lambda value: value.to_pandas(types_mapper=pd.ArrowDtype))
to_plain.register(pa.RecordBatch, lambda value: value.to_pandas(types_mapper=pd.ArrowDtype))
to_plain.register(pa.Array, lambda value: value.to_pylist())
to_plain.register(pa.ChunkedArray, lambda value: value.to_pylist())
to_plain.register(pa.Scalar, lambda value: value.as_py())


@to_plain.register
def _set(values: AbstractSet) -> list[Any]:  # type: ignore[type-arg] # singledispatch takes no parameters
    try:
        return sorted(values)
    except TypeError:
        return list(values)


@to_plain.register
def _fraction(value: fractions.Fraction) -> float:
    """Return a whole number, or the nearest double."""
    if value.denominator == 1:
        return value.numerator
    try:
        return value.numerator / value.denominator
    except OverflowError:
        raise ModelError("The model returned a fraction that is too large for a number.") from None


@to_plain.register
def period_to_iso(value: pd.Period) -> str:
    """Return a period as text: 2024, 2024-01, 2024-01-02T03:00, a week's two dates; quarters as 2024Q1."""
    return str(value).replace(" ", "T")


def datetime_to_iso(value: np.datetime64) -> str:
    """Return a time as ISO 8601 text; years and months as their first day, as parsers of times want a day."""
    unit = np.datetime_data(value.dtype)[0]
    return str(np.datetime_as_string(value, unit="D") if unit in {"Y", "M"} else np.datetime_as_string(value))


@to_plain.register
def _interval(value: pd.Interval) -> dict[str, Any]:
    return {"left": value.left, "right": value.right, "closed": value.closed}


def _from_polars(polars: Any, value: Any) -> Any:
    if _is_a(value, polars, "LazyFrame"):
        value = value.collect()
    if _is_a(value, polars, "DataFrame"):
        return value.to_arrow().to_pandas(types_mapper=pd.ArrowDtype)
    return value.to_list() if _is_a(value, polars, "Series") else value


def _from_torch(torch: Any, value: Any) -> Any:
    return _tensor_to_array(value) if _is_a(value, torch, "Tensor") else value


def _from_tensorflow(tensorflow: Any, value: Any) -> Any:
    if _is_a(value, tensorflow, "RaggedTensor"):
        return value.to_list()
    return tensorflow.sparse.to_dense(value).numpy() if _is_a(value, tensorflow, "SparseTensor") else value


_LIBRARIES = {"polars": _from_polars, "torch": _from_torch, "tensorflow": _from_tensorflow}


def _is_a(value: object, library: Any, name: str) -> bool:
    """Return whether a value is of a class of a library, which may be imported in part only."""
    cls = getattr(library, name, None)
    return isinstance(cls, type) and isinstance(value, cls)


def _tensor_to_array(tensor: Any) -> Any:
    """Return a tensor as an array: wherever it is, whatever its layout, and with or without a gradient."""
    tensor = tensor.detach()
    if tensor.is_nested:
        return [_tensor_to_array(part) for part in tensor.unbind()]
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    tensor = tensor.to_dense() if "strided" not in str(tensor.layout) else tensor
    tensor = tensor.cpu().resolve_conj().resolve_neg()
    try:
        return tensor.numpy()
    except TypeError:  # numpy has no half complex numbers, and no floats of 8 bits or with 8 bits of exponent
        return tensor.cfloat().numpy() if tensor.is_complex() else tensor.float().numpy()


def _to_known_dtype(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array of one of numpy's own dtypes, which hold the narrow ones of ml_dtypes exactly."""
    if array.dtype.kind != "V" or issubclass(array.dtype.type, np.void):
        return array
    return array.astype(np.int64 if "int" in array.dtype.name else np.float64)
