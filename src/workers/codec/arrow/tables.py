"""Arrow tables as the model's input, for the Arrow and Parquet formats."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from mlflow.types.schema import TensorSpec

from workers.codec.arrow import size_limits
from workers.codec.arrow.columns import ArrowColumn
from workers.codec.arrow.pandas_index import split_index
from workers.codec.input_errors import invalid_input
from workers.codec.inputs import tensors
from workers.codec.inputs.columns import ColumnMismatch
from workers.codec.inputs.frames import to_frame
from workers.codec.inputs.tables import Table
from workers.codec.signature import InputSpec
from workers.errors import InvalidInput
from workers.protocol.messages import InputProblem

Array = np.ndarray[Any, Any]


def to_model_input(table: pa.Table, spec: InputSpec, *, max_bytes: int) -> Any:
    """Return the model's input of a table that is not validated yet. Raises InvalidInput.

    An index that pandas stored is the frame's, unless the signature names its column. Extension types are
    plain columns. `max_bytes` limits the size of the decoded values.
    """
    try:
        return _validate_and_convert(table, spec, max_bytes=max_bytes)
    except ColumnMismatch as mismatch:
        raise invalid_input(
            [InputProblem(row, None, reason) for row, reason in mismatch.cell_errors]
        ) from mismatch
    except UnicodeDecodeError as error:  # pyarrow decodes names on access
        raise InvalidInput(
            "The body has a name, of a column or of a time zone, that is not UTF-8."
        ) from error


def _validate_and_convert(table: pa.Table, spec: InputSpec, *, max_bytes: int) -> Any:
    names = table.column_names
    if not names:
        raise InvalidInput("The body has no columns.")
    if len(set(names)) != len(names):
        raise InvalidInput("The body names one column twice.")
    try:
        table.validate(full=True)
    except pa.ArrowException as error:
        raise InvalidInput("The body's columns are damaged, or hold text that is not UTF-8.") from error
    size_limits.check_decoded_size(table, max_bytes=max_bytes)
    table, index = split_index(table, spec)
    columns = tuple(map(ArrowColumn, table.itercolumns()))
    model_input = _convert(Table(tuple(table.column_names), columns, table.num_rows), spec)
    if index is not None and isinstance(model_input, pd.DataFrame):
        model_input.index = index
    return model_input


def _convert(table: Table, spec: InputSpec) -> Any:
    if spec.schema is None or spec.columns is not None:
        return to_frame(table, spec)
    specs = tensors.tensor_specs(spec)
    arrays = _arrays_by_name(table, specs) if specs[0].name is not None else _stack_columns(table, specs[0])
    if arrays is None:
        return tensors.table_to_tensors(table, spec)
    return tensors.to_tensors(arrays, spec, what="the table")


def _arrays_by_name(table: Table, specs: list[TensorSpec]) -> dict[str, Array] | None:
    """Return one array per column, or None if a column does not hold numbers."""
    known = {str(spec.name): spec for spec in specs}
    arrays: dict[str, Array] = {}
    for name, column in zip(table.names or (), table.columns, strict=True):
        array = _column_to_array(column, known.get(str(name)))
        if array is None:
            return None
        arrays[str(name)] = array
    return arrays


def _stack_columns(table: Table, spec: TensorSpec) -> Array | None:
    """Return the columns side by side as one array, or None if they are not numbers of one dtype."""
    if len(table.columns) == 1:
        return _column_to_array(table.columns[0], spec)
    columns = [column.as_numeric_array() for column in table.columns if isinstance(column, ArrowColumn)]
    arrays = [array for array in columns if array is not None]
    if len(arrays) != len(table.columns) or len({array.dtype for array in arrays}) != 1:
        return None
    return np.stack(arrays, axis=1)


def _column_to_array(column: object, spec: TensorSpec | None) -> Array | None:
    """Return a column of numbers, or of lists of numbers, in the shape of the signature if it fits."""
    if not isinstance(column, ArrowColumn):
        return None
    numbers = column.as_numeric_array()
    array = column.as_numeric_matrix() if numbers is None else numbers
    if array is None or spec is None or spec.shape[0] != -1 or -1 in spec.shape[1:]:
        return array
    shape = (len(array), *spec.shape[1:])
    return array.reshape(shape) if array.size == prod(shape) else array
