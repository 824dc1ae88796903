"""Arrow tables, from whichever format, as the model's input."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from mlflow.types.schema import TensorSpec

from workers.codec.arrow import size_limits
from workers.codec.arrow.columns import ArrowColumn
from workers.codec.input_errors import invalid_input
from workers.codec.inputs import tensors
from workers.codec.inputs.columns import ColumnMismatch
from workers.codec.inputs.frames import to_frame
from workers.codec.inputs.tables import Table
from workers.errors import InvalidInput
from workers.protocol.messages import InputProblem

if TYPE_CHECKING:
    from workers.codec.signature import InputSpec

Array = np.ndarray[Any, Any]


def to_model_input(table: pa.Table, spec: InputSpec, *, max_bytes: int) -> Any:
    """The model's input of a table that is not validated yet and may become `most` bytes.

    Columns are plain columns: what the schema's metadata says (pandas' index, extension types) is
    not followed. Raises InputRefused.
    """
    try:
        return _validate_and_convert(table, spec, max_bytes=max_bytes)
    except ColumnMismatch as refused:
        raise invalid_input(
            [InputProblem(row, None, reason) for row, reason in refused.cell_errors]
        ) from refused
    except UnicodeDecodeError as error:  # pyarrow decodes them when they are asked for
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
    return _convert(Table(tuple(names), tuple(map(ArrowColumn, table.itercolumns())), table.num_rows), spec)


def _convert(table: Table, input_spec: InputSpec) -> Any:
    if input_spec.schema is None or input_spec.columns is not None:
        return to_frame(table, input_spec)
    specs = [spec for spec in input_spec.schema.inputs if isinstance(spec, TensorSpec)]
    payload = _arrays_by_name(table, specs) if specs[0].name is not None else _stack_columns(table, specs[0])
    return (
        tensors.table_to_tensors(table, input_spec)
        if payload is None
        else tensors.to_tensors(payload, input_spec, what="the table")
    )


def _arrays_by_name(table: Table, specs: list[TensorSpec]) -> dict[str, Array] | None:
    """One array per column, None where a column is not of plain numbers."""
    known = {spec.name: spec for spec in specs}
    made: dict[str, Array] = {}
    for name, source in zip(table.names or (), table.columns, strict=True):
        array = _column_array(source, known.get(str(name)))
        if array is None:
            return None
        made[str(name)] = array
    return made


def _stack_columns(table: Table, spec: TensorSpec) -> Array | None:
    """The columns side by side as one array, None where they are not of one plain kind of numbers."""
    if len(table.columns) == 1:
        return _column_array(table.columns[0], spec)
    arrays = [source.as_numeric_array() for source in table.columns if isinstance(source, ArrowColumn)]
    known = [array for array in arrays if array is not None]
    if len(known) != len(table.columns) or len({array.dtype for array in known}) != 1:
        return None
    return np.stack(known, axis=1)


def _column_array(source: object, spec: TensorSpec | None) -> Array | None:
    """A column of numbers, or of lists of numbers, in the shape that the signature wants where it can be."""
    if not isinstance(source, ArrowColumn):
        return None
    numbers = source.as_numeric_array()
    array = source.as_numeric_matrix() if numbers is None else numbers
    if array is None or spec is None or spec.shape[0] != -1 or -1 in spec.shape[1:]:
        return array
    wanted = (len(array), *spec.shape[1:])
    return array.reshape(wanted) if array.size == prod(wanted) else array
