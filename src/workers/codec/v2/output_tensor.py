"""One output of a model as an Open Inference tensor: a datatype, a shape and flat values."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workers.codec.inputs.arrays import MAX_EXACT_INTEGER
from workers.codec.inputs.tensors import flatten
from workers.codec.json import answer as json_answer
from workers.codec.plain import datetime_to_iso, to_plain, to_plain_items
from workers.codec.v2.tensors import BYTES, DTYPES
from workers.errors import InvalidInput

Array = np.ndarray[Any, Any]

_DATATYPES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """An output tensor; `values` are flat: an ndarray of numbers, or a list of strings, bytes and None."""

    datatype: str
    shape: tuple[int, ...]
    values: Array | list[Any]
    content_type: str | None = None


def to_output_tensor(value: object) -> OutputTensor:
    """Return an array, a Series, a list or a single value as a tensor. Raises ModelError for other types."""
    if type(value) is np.ndarray:
        return _array_to_tensor(value)
    value = to_plain(value)
    if isinstance(value, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        value = _to_numpy(value)
    if isinstance(value, list | tuple):
        return _list_to_tensor(to_plain_items(value))
    if isinstance(value, np.generic):
        value = np.asarray(value)
    return _array_to_tensor(value) if isinstance(value, np.ndarray) else _leaves_to_tensor((), [value])


def _array_to_tensor(array: Array) -> OutputTensor:
    if isinstance(array, np.ma.MaskedArray) or array.dtype.kind not in "biufmM":
        return _leaves_to_tensor(array.shape, to_plain_items(array.ravel().tolist()))
    if array.dtype.kind in "mM":
        return _leaves_to_tensor(array.shape, list(array.ravel()))
    if array.dtype.newbyteorder("=") not in _DATATYPES:  # a long double, which JSON has as a double too
        array = array.astype(np.float64)
    flat = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).ravel()
    return OutputTensor(_DATATYPES[flat.dtype], _at_least_2d(array.shape), flat)


def _list_to_tensor(values: list[Any]) -> OutputTensor:
    """Return nested lists of one depth as one tensor; else each item of the outer list is one value."""
    if values and all(isinstance(value, np.ndarray) for value in values):
        if len({(value.shape, value.dtype) for value in values}) == 1:
            masked = any(isinstance(value, np.ma.MaskedArray) for value in values)
            return _array_to_tensor(np.ma.stack(values) if masked else np.stack(values))
        return _leaves_to_tensor((len(values),), values)
    try:
        shape, leaves = flatten(values, what="the answer")
    except InvalidInput:
        return _leaves_to_tensor((len(values),), values)
    return _leaves_to_tensor(shape, leaves)


def _leaves_to_tensor(shape: tuple[int, ...], leaves: list[Any]) -> OutputTensor:
    """Return Python values as a tensor of the one datatype that holds them all, or each as JSON."""
    shape = _at_least_2d(shape)
    if (numbers := _to_numeric_array(leaves)) is not None:
        return OutputTensor(_DATATYPES[numbers.dtype], shape, numbers)
    values = [None if _is_missing(leaf) else leaf for leaf in leaves]
    for content_type, types, encode in _TEXT_FORMATS:
        if all(value is None or isinstance(value, types) for value in values):
            encoded = [None if value is None else encode(value) for value in values]
            return OutputTensor(BYTES, shape, encoded, content_type)
    return OutputTensor(BYTES, shape, [json_answer.to_json(leaf).decode() for leaf in leaves], "pd_json")


def _to_numeric_array(leaves: list[Any]) -> Array | None:
    """Return an array if all values are booleans, or numbers that one dtype holds exactly."""
    types = set(map(type, leaves))
    if not types:
        return None
    if all(issubclass(kind, bool | np.bool_) for kind in types):
        return np.array(leaves, dtype=bool)
    if not all(
        issubclass(kind, int | float | np.integer | np.floating) and kind is not bool for kind in types
    ):
        return None
    try:
        array = np.array(leaves)
    except OverflowError:
        return None
    if array.dtype.kind == "f" and any(
        isinstance(leaf, int | np.integer) and abs(int(leaf)) > MAX_EXACT_INTEGER for leaf in leaves
    ):
        return None
    if array.dtype.kind == "f" and array.dtype not in _DATATYPES:
        array = array.astype(np.float64)
    return array if array.dtype in _DATATYPES else None


def _to_numpy(values: Any) -> object:
    """Return pandas' values as an ndarray, or as a list if numpy has no dtype for them."""
    dtype = values.dtype
    if isinstance(dtype, np.dtype):
        return values.to_numpy()
    if not isinstance(dtype, pd.api.extensions.ExtensionDtype) or not getattr(dtype, "_is_numeric", False):
        return list(values)
    numpy_dtype = getattr(dtype, "numpy_dtype", None) or np.asarray(values).dtype
    missing = np.asarray(pd.isna(values))
    if not missing.any():
        return np.asarray(values, numpy_dtype)
    if numpy_dtype.kind == "f":
        return np.asarray(values.to_numpy(dtype=numpy_dtype, na_value=np.nan), numpy_dtype)
    present = [value for value in values if not _is_missing(value)]
    if numpy_dtype.kind in "iu" and all(abs(int(value)) <= MAX_EXACT_INTEGER for value in present):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    return list(values)


def _at_least_2d(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape of at least two dimensions, as MLServer does: a list is a column, a value one cell."""
    return shape if len(shape) > 1 else (*(shape or (1,)), 1)


def _is_missing(value: object) -> bool:
    return (
        value is None
        or value is pd.NA
        or value is pd.NaT
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, np.datetime64 | np.timedelta64) and bool(np.isnat(value)))
    )


def _to_iso(value: Any) -> str:
    return datetime_to_iso(value) if isinstance(value, np.datetime64) else str(value.isoformat())


# Content type, the Python types that it is for, and their encoding
_TEXT_FORMATS: tuple[tuple[str, tuple[type, ...], Callable[[Any], Any]], ...] = (
    ("str", (str,), str.__str__),
    ("base64", (bytes, bytearray), bytes),
    ("datetime", (datetime.date, np.datetime64), _to_iso),
    ("str", (datetime.timedelta, np.timedelta64), json_answer.duration_to_iso),
)
