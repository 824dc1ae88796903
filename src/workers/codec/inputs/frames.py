"""A table as a DataFrame that fits the signature: its columns, in its order, of its types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mlflow.types.schema import DataType

from workers.codec.input_errors import invalid_input, shorten
from workers.codec.inputs.columns import ColumnMismatch, convert_column
from workers.codec.inputs.inferred import infer_series, would_lose_precision
from workers.errors import InvalidInput
from workers.protocol.messages import InputProblem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workers.codec.inputs.tables import Table
    from workers.codec.signature import Column, InputSpec

    SelectedColumns = list[tuple[str | int, Column, Sequence[object]]]

# These cannot hold null, in MLflow's frames either: an optional column of nulls alone is left out.
_NOT_NULLABLE = (DataType.boolean, DataType.integer, DataType.long)


def to_frame(table: Table, spec: InputSpec) -> pd.DataFrame:
    """The model's input. Without column signature the values are taken as pandas takes them.

    Raises InputRefused naming up to the first five cells that do not fit and how many more there are.
    """
    if spec.columns is None:
        return _infer_frame(table)
    chosen = (
        _select_by_name(table, spec.columns)
        if spec.has_column_names
        else _select_by_position(table, spec.columns)
    )
    names, columns = [name for name, _, _ in chosen], _convert_columns(chosen)
    return build_frame(columns, row_index(table.index, table.num_rows), spec.to_column_index(names))


def build_frame(columns: list[Any], index: pd.Index[Any], names: pd.Index[Any]) -> pd.DataFrame:
    """Columns of one length as a frame; arrays of one type as one block, as MLflow's frames have them."""
    if columns and len({getattr(column, "dtype", None) for column in columns}) == 1 and _all_arrays(columns):
        return pd.DataFrame(np.array(columns).T, index=index, columns=names, copy=False)
    made = pd.DataFrame(dict(enumerate(columns)), index=pd.RangeIndex(len(index)), copy=False)
    made.index, made.columns = index, names
    return made


def _all_arrays(columns: list[Any]) -> bool:
    return all(isinstance(column, np.ndarray) for column in columns)


def _infer_frame(table: Table) -> pd.DataFrame:
    columns = {position: infer_series(values) for position, values in enumerate(table.columns)}
    made = pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows))
    if table.names is not None:
        made.columns = pd.Index(list(table.names))
    made.index = row_index(table.index, table.num_rows)
    return made


def row_index(index: Sequence[object] | None, rows: int) -> pd.Index[Any]:
    """The rows' labels, of the type that pandas infers, or as objects where that would change one."""
    if index is None:
        return pd.RangeIndex(rows)
    return pd.Index(list(index), dtype=object if would_lose_precision(index) else None)


def _select_by_name(table: Table, columns: Sequence[Column]) -> SelectedColumns:
    names = table.names
    if names is None and len(columns) == 1 and len(table.columns) == 1:
        names = (str(columns[0].name),)
    if names is None:
        raise InvalidInput("The model's signature names its columns, so the body must name them too.")
    known = {column.name for column in columns}
    given = set(names)
    problems = [
        InputProblem(None, shorten(name), "not a column of the signature")
        for name in names
        if name not in known
    ]
    problems += [
        InputProblem(None, column.name, "missing")
        for column in columns
        if column.required and column.name not in given
    ]
    if problems:
        raise invalid_input(problems)
    values: Mapping[str | int, Sequence[object]] = dict(zip(names, table.columns, strict=True))
    return [
        (str(column.name), column, values[str(column.name)])
        for column in columns
        if column.name in given and not _is_omitted(column, values[str(column.name)])
    ]


def _is_omitted(column: Column, values: Sequence[object]) -> bool:
    return (
        not column.required
        and column.type in _NOT_NULLABLE
        and len(values) > 0
        and all(value is None or value != value for value in values)  # noqa: PLR0124 - NaN, in an array
    )


def _select_by_position(table: Table, columns: Sequence[Column]) -> SelectedColumns:
    if len(table.columns) != len(columns):
        raise InvalidInput(
            f"The model takes {_column_count_text(columns)}; the body has {len(table.columns)}."
        )
    names = table.names if table.names is not None else range(len(columns))
    return list(zip(names, columns, table.columns, strict=True))


def _column_count_text(columns: Sequence[Column]) -> str:
    return f"{len(columns)} column{'' if len(columns) == 1 else 's'}"


def _convert_columns(chosen: SelectedColumns) -> list[Any]:
    problems: list[InputProblem] = []
    converted: list[Any] = []
    for name, column, values in chosen:
        try:
            converted.append(convert_column(values, column))
        except ColumnMismatch as refused:
            problems += [InputProblem(row, shorten(name), reason) for row, reason in refused.cell_errors]
    if problems:
        raise invalid_input(problems)
    return converted
