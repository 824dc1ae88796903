"""Large bodies that are a matrix of numbers, read without making a Python object of each.

A body of 100 000 rows of 13 doubles spends nine tenths of its time as a million Python numbers.
simdjson reads them straight into an array of doubles; what is not surely the same by the exact way is
left to that.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from workers.codec.inputs.frames import build_frame, row_index
from workers.codec.signature import NUMERIC_DTYPES

if TYPE_CHECKING:
    from workers.codec.signature import InputSpec

MIN_BODY_BYTES = 8 * 1024
_SIMDJSON_INSTALLED = find_spec("simdjson") is not None
_FORM = "dataframe_split"
_MAX_EXACT_DOUBLE = (
    2.0**52
)  # integers up to here are doubles, and doubles up to here show whether they had a fraction
_QUOTE, _OPEN, _CLOSE, _COMMA = b'"', ord("["), ord("]"), ord(",")

_DOUBLE = np.dtype(np.float64)
_SPLIT_KEYS = (["columns", "data"], ["columns", "data", "index"])

Array = np.ndarray[Any, Any]


class _ParsedMatrix(NamedTuple):
    """The names of the columns in the body's order, the numbers, a row each, and the rows' labels."""

    names: list[str]
    rows: Array
    labels: list[int] | None


def read_numeric_frame(body: bytes, spec: InputSpec) -> pd.DataFrame | None:
    """The frame that the exact way would make of the body; None where only that can tell.

    Read here is `dataframe_split` with every column of the signature, all of them numbers, and nothing
    else; each number must surely be one that its column holds unchanged.
    """
    if (
        not _SIMDJSON_INSTALLED
        or len(body) < MIN_BODY_BYTES
        or not spec.all_numeric
        or body.startswith(BOM_UTF8)
    ):
        return None
    found = _parse_numbers(body, spec)
    if found is None or not (np.abs(found.rows) < _MAX_EXACT_DOUBLE).all():
        return None
    order = [found.names.index(name) for name in spec.column_names]
    types = [NUMERIC_DTYPES[column.type] for column in spec.columns or ()]
    index = row_index(found.labels, len(found.rows))
    if {*types} == {_DOUBLE}:
        return pd.DataFrame(found.rows.T[order].T, index=index, columns=spec.column_names, copy=False)
    columns = [_cast_column(found.rows[:, at], dtype) for at, dtype in zip(order, types, strict=True)]
    return (
        None if any(column is None for column in columns) else build_frame(columns, index, spec.column_names)
    )


def _parse_numbers(body: bytes, spec: InputSpec) -> _ParsedMatrix | None:
    """What the body holds; None where it is anything but names, numbers, and labels of the rows."""
    import simdjson  # noqa: PLC0415 - not installed everywhere

    try:
        document: Any = simdjson.Parser().parse(body)
        split: Any = document[_FORM] if list(document) == [_FORM] else {}
        if sorted(split) not in _SPLIT_KEYS:
            return None
        names: Any = split["columns"].as_list()
        index: Any = split["index"].as_list() if len(split) > 2 else None
        flat = np.frombuffer(split["data"].as_buffer(of_type="d"), dtype=np.float64)
        rows, width = len(split["data"]), len(spec.column_names)
    except (ValueError, TypeError, RuntimeError, AttributeError, KeyError):
        return None  # no JSON, or of another form: the exact way says which
    named = len(names) == width and {*map(type, names)} == {str} and {*names} == {*spec.column_names}
    labelled = index is None or (len(index) == rows and {*map(type, index)} == {int})
    if (
        not named
        or not labelled
        or not rows
        or len(flat) != rows * width
        or not _is_rectangular(body, rows, width)
    ):
        return None
    return _ParsedMatrix(names, flat.reshape(rows, width), index)


def _is_rectangular(body: bytes, rows: int, width: int) -> bool:
    """Whether the numbers stand in so many rows of one width.

    Their array says only how many there are. With the names before it there is no text behind the last
    quote, so that its brackets and commas can be counted.
    """
    tail = np.frombuffer(body, dtype=np.uint8, offset=body.rindex(_QUOTE) + 1)
    opened, closed = np.flatnonzero(tail == _OPEN), np.flatnonzero(tail == _CLOSE)
    if len(opened) != rows + 1 or len(closed) != rows + 1:
        return False
    if not ((opened[1:] < closed[:-1]).all() and (closed[:-2] < opened[2:]).all()):
        return False  # one within another
    commas = np.flatnonzero(tail == _COMMA)
    before = np.searchsorted(commas, opened[1:])
    within = np.diff(before, append=len(commas) + 1)
    return before[0] == 0 and bool((within == width).all())


def _cast_column(column: Array, dtype: np.dtype[Any]) -> Array | None:
    """The column as its own type; None where that would change a value."""
    if dtype.kind == "f":
        return column.astype(dtype)  # whatever is as small as this is within the range of a float
    limits = np.iinfo(dtype)
    whole = (column == np.trunc(column)) & (column >= limits.min) & (column <= limits.max)
    return column.astype(dtype) if whole.all() else None
