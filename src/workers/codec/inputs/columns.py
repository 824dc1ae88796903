"""One column of JSON values, exactly as the signature's type: what loses something is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mlflow.types.schema import AnyType, DataType

from workers.codec.inputs.arrays import cast, cells
from workers.codec.inputs.inferred import rounds
from workers.codec.inputs.nested import Misfit, fitted
from workers.codec.inputs.scalars import RULES
from workers.codec.inputs.sources import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.codec.signature import Column

Bad = list[tuple[int, str]]


class ColumnRefused(Exception):
    """Some cells do not fit; `bad` has their rows (from 0, None for the whole column) and the reasons."""

    def __init__(self, bad: Sequence[tuple[int | None, str]]) -> None:
        super().__init__()
        self.bad = bad


def convert(values: Sequence[object] | np.ndarray[Any, Any], column: Column) -> Any:
    """`values` as an ndarray or a Series of the column's type. Raises ColumnRefused.

    They are JSON values, a Source, or an ndarray with a type of its own.
    """
    if isinstance(values, Source):
        if (made := values.fit(column)) is not None:
            return made
        values = values.json(column)
    if isinstance(values, np.ndarray):
        made = cast(values, np.dtype(column.type.to_pandas())) if _is_typed(column) else None
        if made is not None:
            return made
        values = cells(values)
    if isinstance(column.type, DataType):
        built, bad = RULES[column.type].read(values)
    elif isinstance(column.type, AnyType):
        built, bad = pd.Series(list(values), dtype=object), _rounded(values)
    else:
        built, bad = _nested(values, column)
    if bad:
        raise ColumnRefused(bad)
    return built


def _is_typed(column: Column) -> bool:
    return isinstance(column.type, DataType) and column.type != DataType.string


def _nested(values: Sequence[object], column: Column) -> tuple[pd.Series, Bad]:
    bad: Bad = []
    made: list[object] = []
    for row, value in enumerate(values):
        try:
            made.append(fitted(value, column.type, required=column.required))
        except Misfit as misfit:
            bad.append((row, str(misfit)))
    return pd.Series(made, dtype=object), bad


def _rounded(values: Sequence[object]) -> Bad:
    """What would be rounded in `predict`, where MLflow lets pandas infer the column's type once more."""
    if not rounds(values):
        return []
    reason = "an integer that a double cannot hold exactly, in a column with decimals or nulls"
    return [
        (row, reason) for row, value in enumerate(values) if isinstance(value, int) and rounds([value, None])
    ]
