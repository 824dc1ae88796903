"""One column of JSON values, exactly as the signature's type: what loses something is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mlflow.types.schema import AnyType, DataType

from workers.codec.inputs.arrays import safe_cast, to_json_values
from workers.codec.inputs.inferred import would_lose_precision
from workers.codec.inputs.nested import ValueMismatch, convert_nested
from workers.codec.inputs.scalars import CONVERTERS
from workers.codec.inputs.sources import TypedColumn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.codec.signature import Column

CellErrors = list[tuple[int, str]]


class ColumnMismatch(Exception):
    """Some cells do not fit; `bad` has their rows (from 0, None for the whole column) and the reasons."""

    def __init__(self, bad: Sequence[tuple[int | None, str]]) -> None:
        super().__init__()
        self.cell_errors = bad


def convert_column(values: Sequence[object] | np.ndarray[Any, Any], column: Column) -> Any:
    """`values` as an ndarray or a Series of the column's type. Raises ColumnMismatch.

    They are JSON values, a Source, or an ndarray with a type of its own.
    """
    if isinstance(values, TypedColumn):
        if (made := values.as_dtype(column)) is not None:
            return made
        values = values.as_json(column)
    if isinstance(values, np.ndarray):
        made = safe_cast(values, np.dtype(column.type.to_pandas())) if _is_castable(column) else None
        if made is not None:
            return made
        values = to_json_values(values)
    if isinstance(column.type, DataType):
        built, bad = CONVERTERS[column.type].convert(values)
    elif isinstance(column.type, AnyType):
        built, bad = pd.Series(list(values), dtype=object), _rounding_errors(values)
    else:
        built, bad = _convert_nested_column(values, column)
    if bad:
        raise ColumnMismatch(bad)
    return built


def _is_castable(column: Column) -> bool:
    return isinstance(column.type, DataType) and column.type != DataType.string


def _convert_nested_column(values: Sequence[object], column: Column) -> tuple[pd.Series, CellErrors]:
    bad: CellErrors = []
    made: list[object] = []
    for row, value in enumerate(values):
        try:
            made.append(convert_nested(value, column.type, required=column.required))
        except ValueMismatch as misfit:
            bad.append((row, str(misfit)))
    return pd.Series(made, dtype=object), bad


def _rounding_errors(values: Sequence[object]) -> CellErrors:
    """What would be rounded in `predict`, where MLflow lets pandas infer the column's type once more."""
    if not would_lose_precision(values):
        return []
    reason = "an integer that a double cannot hold exactly, in a column with decimals or nulls"
    return [
        (row, reason)
        for row, value in enumerate(values)
        if isinstance(value, int) and would_lose_precision([value, None])
    ]
