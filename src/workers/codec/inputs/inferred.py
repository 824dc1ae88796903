"""Data for models without signature: numpy's and pandas' own types, as long as they change no value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from workers.codec.input_errors import invalid_input
from workers.codec.inputs import tensors
from workers.codec.inputs.sources import TypedColumn
from workers.codec.inputs.tensors import flatten
from workers.errors import InvalidInput
from workers.protocol.messages import InputProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_EXACT_INTEGER = 2**53  # every integer up to here is a double


def would_lose_precision(values: Sequence[object]) -> bool:
    """Whether pandas, inferring a type for `values`, would make doubles of integers that are none."""
    kinds = set(map(type, values))
    if int not in kinds or not kinds <= {int, float, type(None)} or len(kinds) == 1:
        return False
    integers = (value for value in values if type(value) is int and abs(value) > _MAX_EXACT_INTEGER)
    return any(not _is_exact_double(value) for value in integers)


def infer_series(values: Sequence[object]) -> pd.Series:
    """`values` with the type that pandas infers, or as objects where that would change one."""
    if isinstance(values, TypedColumn):
        return values.as_inferred()
    return pd.Series(list(values), dtype=object if would_lose_precision(values) else None)


def infer_payload(payload: object, *, what: str) -> Any:
    """`payload` in the shapes of MLflow's `instances` and `inputs`. Raises InputRefused.

    An object is an array per name; a list of objects an array per name (`instances`) or objects of
    arrays (`inputs`); anything else is one array.
    """
    if isinstance(payload, dict):
        return {name: _infer_array(value, what=what) for name, value in payload.items()}
    if isinstance(payload, list) and payload and all(isinstance(item, dict) for item in payload):
        return _infer_records(payload, what=what)
    return _infer_array(payload, what=what)


def _infer_records(records: list[dict[str, object]], *, what: str) -> Any:
    if what == "inputs":
        return [
            {name: _infer_array(value, what=what) for name, value in record.items()} for record in records
        ]
    names = records[0].keys()
    if uneven := [row for row, record in enumerate(records) if record.keys() != names]:
        raise invalid_input([InputProblem(uneven[0], None, "has other names than the first row")], what=what)
    return {name: _infer_array([record[name] for record in records], what=what) for name in names}


def _infer_array(payload: object, *, what: str) -> np.ndarray[Any, Any]:
    """One ndarray of numpy's choice; of objects where its choice would change a value."""
    leaves = flatten(payload, what=what)[1]
    tensors.check_string_array_size(leaves, what=what)
    kinds = set(map(type, leaves))
    mixed = bool in kinds and len(kinds) > 1  # numpy makes a number of the boolean, which equals it
    try:
        array = np.array(payload, dtype=object if mixed else None)
        return array if array.tolist() == payload else np.array(payload, dtype=object)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidInput(f"The values of {what} form no array: rows differ in length or depth.") from error


def _is_exact_double(value: int) -> bool:
    try:
        return int(float(value)) == value
    except OverflowError:
        return False
