"""Predictions as a table, for the tabular formats."""

from __future__ import annotations

import datetime
import enum
import json
from contextlib import suppress
from itertools import chain
from typing import Any, Final

import numpy as np
import pandas as pd

from workers.errors import NotAcceptable

_NULL_TYPES: Final = frozenset({type(None), type(pd.NA)})


def predictions_to_frame(predictions: object, media_type: str) -> pd.DataFrame:
    """Return the predictions as a DataFrame with string column names and without an index.

    Tables are DataFrames, Series, arrays of one or two dimensions, lists of scalars and lists of flat
    objects. Columns without names are called 0, 1, …, as in JSON. Raises NotAcceptable for other predictions
    and for duplicate column names.
    """
    table = _to_frame(predictions)
    if table is None:
        problem = f"The model's answer ({type(predictions).__name__}) is not a table"
        raise NotAcceptable(f"{problem}, so it cannot be sent as {media_type}; JSON is available.")
    frame = table.set_axis([_name_to_text(name) for name in table.columns], axis=1)
    if not frame.columns.is_unique:
        problem = "The model's answer names one column twice"
        raise NotAcceptable(f"{problem}, so it cannot be sent as {media_type}; JSON is available.")
    return frame.reset_index(drop=True)


def _name_to_text(name: object) -> str:
    """Return a column's name as JSON answers have it."""
    if isinstance(name, str) or type(name) is int:
        return str(name)
    if isinstance(name, np.generic | enum.Enum):
        name = name.item() if isinstance(name, np.generic) else name.value
    if name is None or isinstance(name, bool):
        return json.dumps(name)
    return name.isoformat() if isinstance(name, datetime.date | datetime.time) else str(name)


def _to_frame(predictions: object) -> pd.DataFrame | None:
    if isinstance(predictions, pd.DataFrame):
        return predictions
    if isinstance(predictions, pd.Series):
        return pd.DataFrame(predictions)
    if hasattr(predictions, "toarray"):  # scipy's sparse matrices
        predictions = np.asarray(predictions.toarray())
    if isinstance(predictions, np.ndarray):
        if predictions.ndim not in {1, 2} or predictions.dtype.names:
            return None
        if isinstance(predictions, np.ma.MaskedArray):
            return _masked_to_frame(predictions)
        return pd.DataFrame(predictions)
    return _list_to_frame(predictions) if isinstance(predictions, list) else None


def _list_to_frame(values: list[Any]) -> pd.DataFrame | None:
    types = set(map(type, values))
    if types and all(issubclass(kind, dict) for kind in types):
        items = set(map(type, chain.from_iterable(record.values() for record in values)))
        flat = not any(issubclass(kind, dict | list) for kind in items)
        return _records_to_frame(values, items) if flat else None
    if any(issubclass(kind, dict | list | tuple | set | np.ndarray) for kind in types):
        return None
    return pd.DataFrame({0: _correct_integers(pd.Series(values), values, types)})


def _records_to_frame(records: list[dict[Any, Any]], types: set[type]) -> pd.DataFrame:
    frame = pd.DataFrame.from_records(records)
    if len(records) == 1 or not any(map(_is_integer_type, types)):
        return frame
    for position, (name, dtype) in enumerate(zip(frame.columns, frame.dtypes, strict=True)):
        if dtype.kind in "fc":
            values = [record.get(name) for record in records]
            column = _correct_integers(frame.iloc[:, position], values, set(map(type, values)))
            frame.isetitem(position, column.array)
    return frame


def _correct_integers(inferred: pd.Series[Any], values: list[Any], types: set[type]) -> pd.Series[Any]:
    """Return the inferred column, or another if pandas made decimals of integers.

    Integers beside nulls stay integers. Beside decimals they become such, unless that rounds one.
    """
    if len(types) == 1 or inferred.dtype.kind not in "fc":
        return inferred
    integers = set(filter(_is_integer_type, types))
    if integers and types - integers <= _NULL_TYPES:
        return _to_nullable_integers(values)
    rounded = any(
        type(value) in integers and number != int(value)
        for value, number in zip(values, inferred.tolist(), strict=True)
    )
    return pd.Series(values, dtype=object) if rounded else inferred


def _is_integer_type(kind: type) -> bool:
    return kind is int or (issubclass(kind, np.integer) and not issubclass(kind, np.timedelta64))


def _to_nullable_integers(values: list[Any]) -> pd.Series[Any]:
    mask = np.array([type(value) in _NULL_TYPES for value in values])
    numbers = [0 if null else int(value) for value, null in zip(values, mask.tolist(), strict=True)]
    for dtype in (np.int64, np.uint64):
        with suppress(OverflowError):
            return pd.Series(pd.arrays.IntegerArray(np.array(numbers, dtype), mask))
    return pd.Series(values, dtype=object)


def _masked_to_frame(array: np.ma.MaskedArray[Any, Any]) -> pd.DataFrame:
    """Return a masked array as a frame; pandas itself would make decimals of integers."""
    if array.dtype.kind not in "iu" or not np.ma.is_masked(array):
        return pd.DataFrame(array)
    matrix = array.reshape(len(array), -1)
    data, mask = np.ascontiguousarray(matrix.data, array.dtype.newbyteorder("=")), np.ma.getmaskarray(matrix)
    columns = range(matrix.shape[1])
    return pd.DataFrame({at: pd.arrays.IntegerArray(data[:, at], mask[:, at]) for at in columns})
