"""A table as a DataFrame that fits the signature: its columns, in its order, of its types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mlflow.types.schema import DataType

from workers.codec.input_errors import refusal, short
from workers.codec.inputs.columns import ColumnRefused, convert
from workers.codec.inputs.inferred import rounds, series
from workers.errors import InvalidInput
from workers.protocol.messages import InputProblem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workers.codec.inputs.tables import Table
    from workers.codec.signature import Column, Plan

    Chosen = list[tuple[str | int, Column, Sequence[object]]]

# These cannot hold null, in MLflow's frames either: an optional column of nulls alone is left out.
_NO_NULLS = (DataType.boolean, DataType.integer, DataType.long)


def frame(table: Table, plan: Plan) -> pd.DataFrame:
    """The model's input. Without column signature the values are taken as pandas takes them.

    Raises InputRefused naming up to the first five cells that do not fit and how many more there are.
    """
    if plan.columns is None:
        return _untyped(table)
    chosen = _by_name(table, plan.columns) if plan.named else _by_position(table, plan.columns)
    names, columns = [name for name, _, _ in chosen], _converted(chosen)
    return framed(columns, labels(table.index, table.rows), plan.labels(names))


def framed(columns: list[Any], index: pd.Index[Any], names: pd.Index[Any]) -> pd.DataFrame:
    """Columns of one length as a frame; arrays of one type as one block, as MLflow's frames have them."""
    if columns and len({getattr(column, "dtype", None) for column in columns}) == 1 and _plain(columns):
        return pd.DataFrame(np.array(columns).T, index=index, columns=names, copy=False)
    made = pd.DataFrame(dict(enumerate(columns)), index=pd.RangeIndex(len(index)), copy=False)
    made.index, made.columns = index, names
    return made


def _plain(columns: list[Any]) -> bool:
    return all(isinstance(column, np.ndarray) for column in columns)


def _untyped(table: Table) -> pd.DataFrame:
    columns = {position: series(values) for position, values in enumerate(table.values)}
    made = pd.DataFrame(columns, index=pd.RangeIndex(table.rows))
    if table.names is not None:
        made.columns = pd.Index(list(table.names))
    made.index = labels(table.index, table.rows)
    return made


def labels(index: Sequence[object] | None, rows: int) -> pd.Index[Any]:
    """The rows' labels, of the type that pandas infers, or as objects where that would change one."""
    if index is None:
        return pd.RangeIndex(rows)
    return pd.Index(list(index), dtype=object if rounds(index) else None)


def _by_name(table: Table, columns: Sequence[Column]) -> Chosen:
    names = table.names
    if names is None and len(columns) == 1 and len(table.values) == 1:
        names = (str(columns[0].name),)
    if names is None:
        raise InvalidInput("The model's signature names its columns, so the body must name them too.")
    known = {column.name for column in columns}
    given = set(names)
    problems = [
        InputProblem(None, short(name), "not a column of the signature") for name in names if name not in known
    ]
    problems += [
        InputProblem(None, column.name, "missing")
        for column in columns
        if column.required and column.name not in given
    ]
    if problems:
        raise refusal(problems)
    values: Mapping[str | int, Sequence[object]] = dict(zip(names, table.values, strict=True))
    return [
        (str(column.name), column, values[str(column.name)])
        for column in columns
        if column.name in given and not _left_out(column, values[str(column.name)])
    ]


def _left_out(column: Column, values: Sequence[object]) -> bool:
    return (
        not column.required
        and column.type in _NO_NULLS
        and len(values) > 0
        and all(value is None or value != value for value in values)  # noqa: PLR0124 - NaN, in an array
    )


def _by_position(table: Table, columns: Sequence[Column]) -> Chosen:
    if len(table.values) != len(columns):
        raise InvalidInput(f"The model takes {_counted(columns)}; the body has {len(table.values)}.")
    names = table.names if table.names is not None else range(len(columns))
    return list(zip(names, columns, table.values, strict=True))


def _counted(columns: Sequence[Column]) -> str:
    return f"{len(columns)} column{'' if len(columns) == 1 else 's'}"


def _converted(chosen: Chosen) -> list[Any]:
    problems: list[InputProblem] = []
    converted: list[Any] = []
    for name, column, values in chosen:
        try:
            converted.append(convert(values, column))
        except ColumnRefused as refused:
            problems += [InputProblem(row, short(name), reason) for row, reason in refused.bad]
    if problems:
        raise refusal(problems)
    return converted
