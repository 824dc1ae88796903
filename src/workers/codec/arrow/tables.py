"""Arrow tables, from whichever format, as the model's input."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from mlflow.types.schema import TensorSpec

from workers.codec.arrow import size_limits
from workers.codec.arrow.columns import ArrowSource
from workers.codec.input_errors import refusal
from workers.codec.inputs import tensors
from workers.codec.inputs.columns import ColumnRefused
from workers.codec.inputs.frames import frame
from workers.codec.inputs.tables import Table
from workers.errors import InvalidInput
from workers.protocol.messages import InputProblem

if TYPE_CHECKING:
    from workers.codec.signature import Plan

Array = np.ndarray[Any, Any]


def data(table: pa.Table, plan: Plan, *, most: int) -> Any:
    """The model's input of a table that is not validated yet and may become `most` bytes.

    Columns are plain columns: what the schema's metadata says (pandas' index, extension types) is
    not followed. Raises InputRefused.
    """
    try:
        return _checked(table, plan, most=most)
    except ColumnRefused as refused:
        raise refusal([InputProblem(row, None, reason) for row, reason in refused.bad]) from refused
    except UnicodeDecodeError as error:  # pyarrow decodes them when they are asked for
        raise InvalidInput(
            "The body has a name, of a column or of a time zone, that is not UTF-8."
        ) from error


def _checked(table: pa.Table, plan: Plan, *, most: int) -> Any:
    names = table.column_names
    if not names:
        raise InvalidInput("The body has no columns.")
    if len(set(names)) != len(names):
        raise InvalidInput("The body names one column twice.")
    try:
        table.validate(full=True)
    except pa.ArrowException as error:
        raise InvalidInput("The body's columns are damaged, or hold text that is not UTF-8.") from error
    size_limits.check(table, most=most)
    return _data(Table(tuple(names), tuple(map(ArrowSource, table.itercolumns())), table.num_rows), plan)


def _data(table: Table, plan: Plan) -> Any:
    if plan.schema is None or plan.columns is not None:
        return frame(table, plan)
    specs = [spec for spec in plan.schema.inputs if isinstance(spec, TensorSpec)]
    payload = _named(table, specs) if specs[0].name is not None else _nameless(table, specs[0])
    return (
        tensors.from_table(table, plan)
        if payload is None
        else tensors.tensors(payload, plan, what="the table")
    )


def _named(table: Table, specs: list[TensorSpec]) -> dict[str, Array] | None:
    """One array per column, None where a column is not of plain numbers."""
    known = {spec.name: spec for spec in specs}
    made: dict[str, Array] = {}
    for name, source in zip(table.names or (), table.values, strict=True):
        array = _array(source, known.get(str(name)))
        if array is None:
            return None
        made[str(name)] = array
    return made


def _nameless(table: Table, spec: TensorSpec) -> Array | None:
    """The columns side by side as one array, None where they are not of one plain kind of numbers."""
    if len(table.values) == 1:
        return _array(table.values[0], spec)
    arrays = [source.numbers() for source in table.values if isinstance(source, ArrowSource)]
    known = [array for array in arrays if array is not None]
    if len(known) != len(table.values) or len({array.dtype for array in known}) != 1:
        return None
    return np.stack(known, axis=1)


def _array(source: object, spec: TensorSpec | None) -> Array | None:
    """A column of numbers, or of lists of numbers, in the shape that the signature wants where it can be."""
    if not isinstance(source, ArrowSource):
        return None
    numbers = source.numbers()
    array = source.rows_of_numbers() if numbers is None else numbers
    if array is None or spec is None or spec.shape[0] != -1 or -1 in spec.shape[1:]:
        return array
    wanted = (len(array), *spec.shape[1:])
    return array.reshape(wanted) if array.size == prod(wanted) else array
