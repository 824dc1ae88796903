"""One column of a table as the signature's type, without loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from mlflow.types.schema import AnyType, DataType

from workers.codec.input_errors import MAX_PROBLEMS, first_problems
from workers.codec.inputs.arrays import safe_cast, to_json_values
from workers.codec.inputs.inferred import would_lose_precision
from workers.codec.inputs.nested import ValueMismatch, convert_nested
from workers.codec.inputs.scalars import CONVERTERS, CellErrors
from workers.codec.inputs.typed_column import TypedColumn
from workers.codec.signature import Column


class ColumnMismatch(Exception):
    """Some values of a column do not fit its type.

    `cell_errors` holds their rows (from 0; None for the whole column) and the reasons.
    """

    def __init__(self, cell_errors: Sequence[tuple[int | None, str]]) -> None:
        super().__init__()
        self.cell_errors = cell_errors


def convert_column(values: Sequence[object] | np.ndarray[Any, Any], column: Column) -> Any:
    """Return `values` as an ndarray or a Series of the column's type. Raises ColumnMismatch.

    They are JSON values, a TypedColumn, or an ndarray of any dtype.
    """
    if isinstance(values, TypedColumn):
        if (typed := values.as_dtype(column)) is not None:
            return typed
        values = values.as_json(column)
    if isinstance(values, np.ndarray):
        typed = safe_cast(values, np.dtype(column.type.to_pandas())) if _is_castable(column) else None
        if typed is not None:
            return typed
        values = to_json_values(values)
    if isinstance(column.type, DataType):
        converted, errors = CONVERTERS[column.type].convert(values)
    elif isinstance(column.type, AnyType):
        converted, errors = pd.Series(list(values), dtype=object), _rounding_errors(values)
    else:
        converted, errors = _convert_nested_column(values, column)
    if errors:
        raise ColumnMismatch(errors)
    return converted


def _is_castable(column: Column) -> bool:
    return isinstance(column.type, DataType) and column.type != DataType.string


def _convert_nested_column(values: Sequence[object], column: Column) -> tuple[pd.Series, CellErrors]:
    errors: CellErrors = []
    converted: list[object] = []
    for row, value in enumerate(values):
        try:
            converted.append(convert_nested(value, column.type, required=column.required))
        except ValueMismatch as mismatch:
            errors.append((row, str(mismatch)))
            if len(errors) > MAX_PROBLEMS:
                break
    return pd.Series(converted, dtype=object), errors


def _rounding_errors(values: Sequence[object]) -> CellErrors:
    """Return an error for each integer that MLflow would round: it lets pandas infer the column's type."""
    if not would_lose_precision(values):
        return []
    reason = "an integer that a double cannot hold exactly, in a column with decimals or nulls"
    return first_problems(
        (row, reason)
        for row, value in enumerate(values)
        if isinstance(value, int) and would_lose_precision([value, None])
    )
