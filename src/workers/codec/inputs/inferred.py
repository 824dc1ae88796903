"""Input for models without a signature: numpy's and pandas' types, unless they would change a value."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from workers.codec.input_errors import invalid_input
from workers.codec.inputs.arrays import MAX_EXACT_INTEGER
from workers.codec.inputs.tensors import check_string_array_size, flatten
from workers.codec.inputs.typed_column import TypedColumn
from workers.errors import InvalidInput
from workers.protocol.messages import InputProblem

_WIDE = 1_000  # columns or objects from which on a Series or an array for each may be too much
_MAX_COLUMNS = 100_000
_MAX_SERIES = 10_000
_MAX_ARRAYS = 500_000  # each takes half a kilobyte
_TOO_WIDE = "The table has {} {}; without a signature it may have at most {}."
_INT64_LIMIT = 2**63


def would_lose_precision(values: Sequence[object]) -> bool:
    """Return whether pandas would round an integer in `values` to a double when it infers their type."""
    types = set(map(type, values))
    if int not in types or not types <= {int, float, type(None)} or len(types) == 1:
        return False
    large = (value for value in values if type(value) is int and abs(value) > MAX_EXACT_INTEGER)
    return any(not _is_exact_double(value) for value in large)


def infer_series(values: Sequence[object]) -> pd.Series:
    """Return `values` with the type that pandas infers, or as objects if that would change a value."""
    if isinstance(values, TypedColumn):
        return values.as_inferred()
    return pd.Series(list(values), dtype=object if would_lose_precision(values) else None)


def infer_frame(columns: Sequence[Sequence[object]], num_rows: int) -> pd.DataFrame:
    """Return a frame of columns, each with the type that `infer_series` gives it. Raises InvalidInput.

    A Series takes 3 KB, whatever it holds. So of a wide table, columns of floats, integers or no values
    become one array each kind, and the number of all others is limited.
    """
    if len(columns) > _MAX_COLUMNS:
        raise InvalidInput(_TOO_WIDE.format(len(columns), "columns", _MAX_COLUMNS))
    if len(columns) <= _WIDE:
        series = {position: infer_series(values) for position, values in enumerate(columns)}
        return pd.DataFrame(series, index=pd.RangeIndex(num_rows))
    blocks: defaultdict[str, list[int]] = defaultdict(list)
    for position, values in enumerate(columns):
        blocks[_block_of(values)].append(position)
    others = blocks.pop("", [])
    if len(others) > _MAX_SERIES:
        raise InvalidInput(_TOO_WIDE.format(len(others), "columns that are not numbers", _MAX_SERIES))
    parts = [
        pd.DataFrame(np.array([columns[at] for at in found], dtype=dtype).T, columns=found)
        for dtype, found in blocks.items()
    ]
    if others:
        parts.append(
            pd.DataFrame({at: infer_series(columns[at]) for at in others}, index=pd.RangeIndex(num_rows))
        )
    return pd.concat(parts, axis=1).reindex(columns=pd.RangeIndex(len(columns)))


def _block_of(values: Sequence[object]) -> str:
    """Return the dtype that pandas certainly infers, or an empty text if only pandas can tell."""
    if isinstance(values, TypedColumn):
        return ""
    types = set(map(type, values))
    if not types:
        return "object"
    if types == {int}:
        return "int64" if all(-_INT64_LIMIT <= value < _INT64_LIMIT for value in values) else ""  # type: ignore[operator] # of ints
    return "float64" if float in types and types <= {float, type(None)} else ""


def infer_payload(payload: object, *, what: str) -> Any:
    """Return `payload` in the form that MLflow gives to `instances` and `inputs`. Raises InvalidInput.

    An object becomes one array per name. A list of objects becomes one array per name (`instances`) or
    objects of arrays (`inputs`). Any other payload becomes one array.
    """
    if isinstance(payload, dict):
        return {name: _infer_array(value, what=what) for name, value in payload.items()}
    if isinstance(payload, list) and payload and all(isinstance(item, dict) for item in payload):
        return _infer_records(payload, what=what)
    return _infer_array(payload, what=what)


def check_width(rows: object) -> None:
    """Raise InvalidInput if the first of a list of rows, a list or an object, has too many columns."""
    first = rows[:1] if isinstance(rows, list) else []
    width = max((len(row) for row in first if isinstance(row, list | dict)), default=0)
    if width > _MAX_COLUMNS:
        raise InvalidInput(_TOO_WIDE.format(width, "columns", _MAX_COLUMNS))


def check_array_count(payload: object) -> None:
    """Raise InvalidInput if `inputs` are objects with too many values: each becomes an array of its own."""
    if not isinstance(payload, list) or len(payload) < _WIDE:
        return
    count = sum(len(item) for item in payload if isinstance(item, dict))
    if count > _MAX_ARRAYS:
        raise InvalidInput(
            f"The objects of inputs have {count} values, and each becomes an array; there may be at most"
            f" {_MAX_ARRAYS}. Send fewer at a time, or as instances or dataframe_split."
        )


def _infer_records(records: list[dict[str, object]], *, what: str) -> Any:
    if what == "inputs":
        check_array_count(records)
        return [
            {name: _infer_array(value, what=what) for name, value in record.items()} for record in records
        ]
    names = records[0].keys()
    uneven = next((row for row, record in enumerate(records) if record.keys() != names), None)
    if uneven is not None:
        raise invalid_input([InputProblem(uneven, None, "has other names than the first row")], what=what)
    return {name: _infer_array([record[name] for record in records], what=what) for name in names}


def _infer_array(payload: object, *, what: str) -> np.ndarray[Any, Any]:
    """Return an array of the dtype that numpy infers, or of objects if that would change a value."""
    leaves = flatten(payload, what=what)[1]
    check_string_array_size(leaves, what=what)
    types = set(map(type, leaves))
    mixed = bool in types and len(types) > 1  # numpy makes numbers of booleans beside numbers
    try:
        array = np.array(payload, dtype=object if mixed else None)
        unchanged = array.tolist() == payload or _equal_but_for_nan(array, leaves)
        return array if unchanged else np.array(payload, dtype=object)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidInput(
            f"The values of {what} do not form an array: rows differ in length or depth."
        ) from error


def _equal_but_for_nan(array: np.ndarray[Any, Any], leaves: Sequence[object]) -> bool:
    """Return whether the leaves have the array's values; NaN is not equal to itself."""
    if array.dtype.kind != "f":
        return False
    pairs = zip(array.ravel().tolist(), leaves, strict=True)
    return all(ours == sent or (ours != ours and sent != sent) for ours, sent in pairs)  # noqa: PLR0124 - only NaN differs from itself


def _is_exact_double(value: int) -> bool:
    try:
        return int(float(value)) == value
    except OverflowError:
        return False
