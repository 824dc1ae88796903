"""A table as a DataFrame that fits the signature: its columns, in its order, of its types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from mlflow.types.schema import DataType

from workers.codec.input_errors import MAX_PROBLEMS, first_problems, invalid_input, shorten
from workers.codec.inputs.columns import ColumnMismatch, convert_column
from workers.codec.inputs.inferred import infer_frame, would_lose_precision
from workers.codec.inputs.scalars import CONVERTERS
from workers.codec.inputs.tables import Table, names_to_text
from workers.codec.signature import Column, InputSpec
from workers.errors import InvalidInput
from workers.protocol.messages import InputProblem

SelectedColumns = list[tuple[str | float, Column, Sequence[object]]]

# MLflow's frames cannot hold null in these either: an optional column of nulls alone is omitted.
_NOT_NULLABLE = (DataType.boolean, DataType.integer, DataType.long)
_UNKNOWN = "not a column of the signature"
_UNNAMED = "not a column of the signature; the index of a frame, perhaps: pandas writes it unless index=False"


def to_frame(table: Table, spec: InputSpec) -> pd.DataFrame:
    """Return the table as the model's input; without a signature of columns, pandas infers the types.

    Raises InvalidInput, which names the first cells that do not fit and counts the others.
    """
    if spec.columns is None:
        return _infer_frame(table)
    if spec.has_column_names:
        selected = _select_by_name(table, spec.columns, spec)
    else:
        selected = _select_by_position(table, spec.columns)
    names = [name for name, _, _ in selected]
    return build_frame(
        _convert_columns(selected), row_index(table.index, table.num_rows), spec.to_column_index(names)
    )


def to_array(table: Table, spec: InputSpec) -> np.ndarray[Any, Any] | None:
    """Return the array that the frame of a table has, without making the frame.

    All columns of `spec` must be of one scalar type, and required. Return None if the table has other
    columns, or a value that does not fit.
    """
    if spec.columns is None or table.names is None or table.index is not None:
        return None
    values = dict(zip(table.names, table.columns, strict=True))
    try:
        cells = [cell for column in spec.columns for cell in values[str(column.name)]]
    except KeyError:
        return None
    if len(values) != len(spec.columns):
        return None
    converted, errors = CONVERTERS[spec.columns[0].type].convert(cells)
    # Column after column, as in the only block of a frame: a sum of cells in another order may differ.
    return None if errors else converted.reshape(len(spec.columns), table.num_rows).T


def build_frame(columns: list[Any], index: pd.Index[Any], names: pd.Index[Any]) -> pd.DataFrame:
    """Return a frame of equally long columns; arrays of one dtype become one block, as in MLflow's frames."""
    dtypes = {getattr(column, "dtype", None) for column in columns}
    if len(dtypes) == 1 and all(isinstance(column, np.ndarray) for column in columns):
        return pd.DataFrame(np.array(columns).T, index=index, columns=names, copy=False)
    frame = pd.DataFrame(dict(enumerate(columns)), index=pd.RangeIndex(len(index)), copy=False)
    frame.index, frame.columns = index, names
    return frame


def row_index(index: Sequence[object] | None, num_rows: int) -> pd.Index[Any]:
    """Return the row labels with the type that pandas infers, or as objects if that would change a label."""
    if index is None:
        return pd.RangeIndex(num_rows)
    return pd.Index(list(index), dtype=object if would_lose_precision(index) else None)


def _infer_frame(table: Table) -> pd.DataFrame:
    frame = infer_frame(table.columns, table.num_rows)
    if table.names is not None:
        frame.columns = pd.Index(list(table.names))
    frame.index = row_index(table.index, table.num_rows)
    return frame


def _select_by_name(table: Table, columns: Sequence[Column], spec: InputSpec) -> SelectedColumns:
    names = table.names
    if names is None and len(columns) == 1 and len(table.columns) == 1:
        names = (str(columns[0].name),)
    if names is None and spec.names_rows:
        names = tuple(map(str, range(len(table.columns))))
    if names is None:
        raise InvalidInput("The model's signature names its columns, so the body must name them too.")
    if problems := _name_problems(names, columns):
        names = names_to_text(names, spec)
        problems = _name_problems(names, columns)
    if problems:
        raise invalid_input(problems)
    values: Mapping[str | float, Sequence[object]] = dict(zip(names, table.columns, strict=True))
    return [
        (str(column.name), column, values[str(column.name)])
        for column in columns
        if column.name in values and not _is_omitted(column, values[str(column.name)])
    ]


def _name_problems(names: Sequence[str | float], columns: Sequence[Column]) -> list[InputProblem]:
    known, given = {column.name for column in columns}, set(names)
    problems: list[InputProblem] = []
    if not known.issuperset(names):
        problems = first_problems(
            InputProblem(None, shorten(name), _UNKNOWN if name != "" else _UNNAMED)
            for name in names
            if name not in known
        )
    problems += [
        InputProblem(None, column.name, "missing")
        for column in columns
        if column.required and column.name not in given
    ]
    return problems


def _is_omitted(column: Column, values: Sequence[object]) -> bool:
    return (
        not column.required
        and column.type in _NOT_NULLABLE
        and len(values) > 0
        and all(value is None or value != value for value in values)  # noqa: PLR0124 - NaN, in an array
    )


def _select_by_position(table: Table, columns: Sequence[Column]) -> SelectedColumns:
    if len(table.columns) != len(columns):
        expected = f"{len(columns)} column{'' if len(columns) == 1 else 's'}"
        raise InvalidInput(f"The model takes {expected}; the body has {len(table.columns)}.")
    names = table.names if table.names is not None else range(len(columns))
    return list(zip(names, columns, table.columns, strict=True))


def _convert_columns(selected: SelectedColumns) -> list[Any]:
    problems: list[InputProblem] = []
    converted: list[Any] = []
    for name, column, values in selected:
        try:
            converted.append(convert_column(values, column))
        except ColumnMismatch as mismatch:
            problems += [InputProblem(row, shorten(name), reason) for row, reason in mismatch.cell_errors]
            if len(problems) > MAX_PROBLEMS:
                break
    if problems:
        raise invalid_input(problems)
    return converted
