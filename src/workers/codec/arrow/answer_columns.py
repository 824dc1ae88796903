"""Columns of predictions that Arrow does not take as they are, or takes by changing a value."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable
from itertools import chain
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from workers.codec.arrow.types import is_list

# Types to which pyarrow converts values of other kinds: dates of times, bytes of texts, and so on
_COERCING_IDS: Final = frozenset(
    arrow_type.id
    for arrow_type in (
        pa.binary(),
        pa.large_binary(),
        pa.date32(),
        pa.date64(),
        pa.time32("s"),
        pa.time64("us"),
        pa.timestamp("us"),
        pa.duration("us"),
        pa.list_(pa.null()),
        pa.large_list(pa.null()),
        pa.struct([]),
    )
)
_UNMIXED: Final = ({bytes}, {datetime.date})  # the types of usual columns
_LOSSY: Final = "a value that Arrow would cut"


def to_plain_dtypes(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with sparse columns dense, and numbers in this machine's byte order and as doubles."""
    return pd.DataFrame(
        {at: _to_plain_dtype(frame.iloc[:, at]) for at in range(frame.shape[1])}, index=frame.index
    ).set_axis(frame.columns, axis=1)


def changes_values(frame: pd.DataFrame, table: pa.Table) -> bool:
    """Return whether a column of objects has values that Arrow made others of to have one type."""
    return any(
        arrow_type.id in _COERCING_IDS
        and frame.dtypes.iloc[at].kind == "O"
        and _is_coerced(frame.iloc[:, at].tolist(), arrow_type)
        for at, arrow_type in enumerate(table.schema.types)
    )


def _to_plain_dtype(column: pd.Series[Any]) -> pd.Series[Any]:
    if isinstance(column.dtype, pd.SparseDtype):
        column = pd.Series(column.array.to_dense(), index=column.index)
    if not isinstance(column.dtype, np.dtype):
        return column
    if column.dtype.kind == "f" and column.dtype.itemsize > np.dtype(np.float64).itemsize:
        return column.astype(np.float64)
    return column.astype(column.dtype.newbyteorder("="))


def _is_coerced(values: list[Any], arrow_type: pa.DataType) -> bool:
    """Return whether the values of times or bytes, also in lists and objects, are of several kinds."""
    if is_list(arrow_type):
        items = chain.from_iterable(value for value in values if isinstance(value, Iterable))
        return _is_coerced(list(items), arrow_type.value_type)
    if pa.types.is_struct(arrow_type):
        objects = [value for value in values if isinstance(value, dict)]
        fields = ((field.type, [value.get(field.name) for value in objects]) for field in arrow_type)
        return any(_is_coerced(items, field_type) for field_type, items in fields)
    if arrow_type.id not in _COERCING_IDS or set(map(type, values)) in _UNMIXED:
        return False
    kinds = {_kind(value) for value in values if not _is_null(value)}
    return len(kinds) > 1 or _LOSSY in kinds


def _is_null(value: object) -> bool:
    is_missing = value is None or value is pd.NA or value is pd.NaT
    return is_missing or (isinstance(value, float) and math.isnan(value))


def _kind(value: object) -> object:
    """Return what Arrow's types tell apart: dates, times with and without zone, bytes and others."""
    if isinstance(value, datetime.datetime):
        return _LOSSY if getattr(value, "nanosecond", 0) else ("time", value.tzinfo is None)
    if isinstance(value, datetime.timedelta):
        return _LOSSY if getattr(value, "nanoseconds", 0) else datetime.timedelta
    if isinstance(value, datetime.time):
        return datetime.time if value.tzinfo is None else _LOSSY
    return bytes if isinstance(value, bytes | bytearray | memoryview) else type(value)
