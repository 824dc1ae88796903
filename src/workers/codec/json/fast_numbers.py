"""Decode large bodies of numbers without a Python object for each.

Decoding 100 000 rows of 13 doubles spends nine tenths of the time on a million Python numbers. simdjson
parses them straight into an array of doubles. A body that may be decoded differently this way is left to
`body.decode`.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from workers.codec.inputs.arrays import FRACTIONLESS_FROM
from workers.codec.inputs.frames import build_frame, row_index
from workers.codec.signature import NUMERIC_DTYPES, InputSpec

try:
    import simdjson
except ImportError:  # it has no wheels for Python 3.14 yet
    _SIMDJSON_INSTALLED = False
else:
    _SIMDJSON_INSTALLED = True

MIN_BODY_BYTES = 8 * 1024
_FORM = "dataframe_split"
_SPLIT_KEYS = (["columns", "data"], ["columns", "data", "index"])
_QUOTE, _OPEN, _CLOSE, _COMMA = b'"', ord("["), ord("]"), ord(",")
_DOUBLE = np.dtype(np.float64)

Array = np.ndarray[Any, Any]


class _ParsedMatrix(NamedTuple):
    """A matrix of doubles, the names of its columns in the body's order, and the labels of its rows."""

    names: list[str]
    rows: Array
    labels: list[int] | None


def read_numeric_frame(body: bytes, spec: InputSpec) -> pd.DataFrame | None:
    """Return the frame that `body.decode` would make, or None if only `body.decode` can tell.

    The body must be a `dataframe_split` of exactly the signature's columns, all of them numeric, and each
    number must be one that its column certainly holds unchanged.
    """
    if (
        not _SIMDJSON_INSTALLED
        or len(body) < MIN_BODY_BYTES
        or not spec.all_numeric
        or body.startswith(BOM_UTF8)
    ):
        return None
    parsed = _parse_numbers(body, spec)
    if parsed is None or not (np.abs(parsed.rows) < FRACTIONLESS_FROM).all():
        return None
    order = [parsed.names.index(str(column.name)) for column in spec.columns or ()]
    dtypes = [NUMERIC_DTYPES[column.type] for column in spec.columns or ()]
    index = row_index(parsed.labels, len(parsed.rows))
    if {*dtypes} == {_DOUBLE}:
        return pd.DataFrame(parsed.rows.T[order].T, index=index, columns=spec.column_names, copy=False)
    columns = [_cast_column(parsed.rows[:, at], dtype) for at, dtype in zip(order, dtypes, strict=True)]
    if any(column is None for column in columns):
        return None
    return build_frame(columns, index, spec.column_names)


def _parse_numbers(body: bytes, spec: InputSpec) -> _ParsedMatrix | None:
    """Return the body's content, or None if it has anything but names, numbers and integer row labels."""
    try:
        parsed = _read_split(simdjson.Parser().parse(body), len(spec.column_names))
    except (ValueError, TypeError, RuntimeError, AttributeError, KeyError):
        return None  # not JSON, or of another form
    if parsed is None:
        return None
    types = {*map(type, parsed.names)}  # integers are the columns of a frame without names
    parsed = parsed._replace(names=list(map(str, parsed.names)))
    known = {column.name for column in spec.columns or ()}
    if types not in ({str}, {int}) or {*parsed.names} != known:
        return None
    if parsed.labels is not None and {*map(type, parsed.labels)} != {int}:
        return None
    return parsed if _is_rectangular(body, *parsed.rows.shape) else None


def _read_split(document: Any, width: int) -> _ParsedMatrix | None:
    """Return the content of a `dataframe_split`, or None for another form, or if a length is wrong.

    Python's objects are made last, when it is known that there are not too many.
    """
    split: Any = document[_FORM] if isinstance(document, simdjson.Object) and len(document) == 1 else None
    if not isinstance(split, simdjson.Object) or len(split) > 3 or sorted(split) not in _SPLIT_KEYS:
        return None
    data: Any = split["data"]
    names: Any = split["columns"]
    index: Any = split.get("index") if len(split) > 2 else None
    flat, num_rows = np.frombuffer(data.as_buffer(of_type="d"), dtype=np.float64), len(data)
    if not num_rows or len(flat) != num_rows * width or len(names) != width:
        return None
    if index is not None and len(index) != num_rows:
        return None
    labels = None if index is None else index.as_list()
    return _ParsedMatrix(names.as_list(), flat.reshape(num_rows, width), labels)


def _is_rectangular(body: bytes, num_rows: int, width: int) -> bool:
    """Return whether the numbers are in `num_rows` rows of `width`; their array has only their total.

    If the names precede the numbers, no string follows the last quote. Then the brackets and commas after it
    can be counted.
    """
    tail = np.frombuffer(body, dtype=np.uint8, offset=body.rindex(_QUOTE) + 1)
    opened, closed = np.flatnonzero(tail == _OPEN), np.flatnonzero(tail == _CLOSE)
    if len(opened) != num_rows + 1 or len(closed) != num_rows + 1:
        return False
    if not ((opened[1:] < closed[:-1]).all() and (closed[:-2] < opened[2:]).all()):
        return False  # a row within a row
    commas = np.flatnonzero(tail == _COMMA)
    before = np.searchsorted(commas, opened[1:])
    within = np.diff(before, append=len(commas) + 1)
    return before[0] == 0 and bool((within == width).all())


def _cast_column(column: Array, dtype: np.dtype[Any]) -> Array | None:
    """Return the column as its own dtype, or None if that would change a value."""
    if dtype.kind == "f":
        return column.astype(dtype)  # below 2^52, so within the range of a float
    limits = np.iinfo(dtype)
    fits = (column == np.trunc(column)) & (column >= limits.min) & (column <= limits.max)
    return column.astype(dtype) if fits.all() else None
