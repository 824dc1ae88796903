"""JSON arrays for tensor signatures: of the signature's dtype and shape, or refused."""

from __future__ import annotations

from itertools import chain
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow.types.schema import TensorSpec

from workers.codec.input_errors import invalid_input, shorten
from workers.codec.inputs import arrays
from workers.codec.inputs.scalars import (
    BOOLEAN,
    DATETIME,
    STRING,
    ScalarConverter,
    float_converter,
    integer_converter,
)
from workers.errors import InvalidInput
from workers.protocol.messages import InputProblem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workers.codec.inputs.tables import Table
    from workers.codec.signature import InputSpec


_MAX_STRING_ARRAY_BYTES = 256 * 1024 * 1024
_BYTES_PER_CHARACTER = 4  # bytes, in numpy's unicode strings


def check_string_array_size(cells: Sequence[object], *, what: str) -> None:
    """Raises InputRefused where an array of the strings in `cells` would be too large."""
    longest = max((len(cell) for cell in cells if isinstance(cell, str)), default=0)
    if len(cells) * longest * _BYTES_PER_CHARACTER > _MAX_STRING_ARRAY_BYTES:
        raise InvalidInput(
            f"{shorten(what)} has {len(cells)} values, the longest of {longest} characters: as an array of"
            f" strings, where each takes as much as the longest, that is more than {_MAX_STRING_ARRAY_BYTES // 1024**2} MiB."
        )


Array = np.ndarray[Any, Any]

_MAX_DIMENSIONS = 32  # numpy's arrays have at most 64 dimensions


def to_tensors(payload: object, input_spec: InputSpec, *, what: str) -> Any:
    """`payload` as one ndarray, or one per name where the signature has names. Raises InputRefused.

    Arrays in it are lists, or ndarrays with a type of their own.
    """
    specs = _tensor_specs(input_spec)
    named = {str(spec.name): spec for spec in specs if spec.name is not None}
    if isinstance(payload, dict) and not named:
        raise InvalidInput(f"{what} must be an array; the model's signature names no inputs.")
    if isinstance(payload, dict):
        problems = [
            InputProblem(None, shorten(name), "not an input of the signature")
            for name in payload.keys() - named.keys()
        ]
        problems += [InputProblem(None, name, "missing") for name in named.keys() - payload.keys()]
        if problems:
            raise invalid_input(problems)
        return {name: _to_tensor(payload[name], spec, what=name) for name, spec in named.items()}
    if len(specs) != 1:
        raise InvalidInput(f"{what} must be an object with one array per input of the signature.")
    return _to_tensor(payload, specs[0], what=what)


def records_to_tensors(records: list[Mapping[str, object]], spec: InputSpec, *, what: str) -> Any:
    """A list of objects, one per row, as one ndarray per name. Raises InputRefused."""
    names = list(records[0])
    if uneven := [row for row, record in enumerate(records) if record.keys() != records[0].keys()]:
        raise invalid_input([InputProblem(uneven[0], None, f"has other names than the first row of {what}")])
    return to_tensors({name: [record[name] for record in records] for name in names}, spec, what=what)


def table_to_tensors(table: Table, input_spec: InputSpec) -> Any:
    """A table's columns, each of scalars or flat lists, as the signature's tensors. Raises InputRefused."""
    specs = _tensor_specs(input_spec)
    if input_spec.schema is not None and input_spec.schema.has_input_names() and table.names is not None:
        columns = dict(zip(map(str, table.names), table.columns, strict=True))
        if len(columns) != len(table.names):
            raise InvalidInput("columns names one column twice: once as a number, once as a string.")
        shapes = {spec.name: spec for spec in specs}
        return to_tensors(
            {name: _fold_rows(list(cells), shapes.get(name)) for name, cells in columns.items()},
            input_spec,
            what="the table",
        )
    if len(table.columns) == 1:
        return to_tensors(_fold_rows(list(table.columns[0]), specs[0]), input_spec, what="the table")
    return to_tensors([list(row) for row in zip(*table.columns, strict=True)], input_spec, what="the table")


def _fold_rows(cells: list[object], spec: TensorSpec | None) -> object:
    """Flat cells of a table, folded as the signature's shape wants each row."""
    if spec is None or spec.shape[0] != -1 or -1 in spec.shape[1:]:
        return cells
    return [_fold_cell(cell, tuple(spec.shape[1:])) for cell in cells]


def _fold_cell(cell: object, shape: tuple[int, ...]) -> object:
    if shape == (1,) and not isinstance(cell, list):
        return [cell]
    if len(shape) < 2 or not isinstance(cell, list) or len(cell) != prod(shape) or isinstance(cell[0], list):
        return cell
    step = prod(shape[1:])
    return [_fold_cell(cell[start : start + step], shape[1:]) for start in range(0, len(cell), step)]


def _to_tensor(payload: object, spec: TensorSpec, *, what: str) -> Array:
    """`payload` as an ndarray of the spec's dtype and shape, with no value changed."""
    if spec.type.kind == "O":
        return _object_array(payload, what=what)
    if isinstance(payload, np.ndarray):
        _check_shape(payload.shape, spec, what=what)
        if (made := arrays.safe_cast(payload, spec.type)) is not None:
            return made
        shape, cells = payload.shape, list(arrays.to_json_values(payload.ravel()))
    else:
        shape, cells = flatten(payload, what=what)
        _check_shape(shape, spec, what=what)
    if spec.type.kind in "US":
        return _string_array(cells, spec, shape=shape, what=what)
    built, bad = _converter_for(spec.type).convert(cells)
    if bad:
        raise _invalid_cells(bad, shape, what=what)
    return np.asarray(built).astype(spec.type, copy=False).reshape(shape)


def _check_shape(shape: tuple[int, ...], spec: TensorSpec, *, what: str) -> None:
    if len(shape) != len(spec.shape) or any(
        want not in {-1, have} for want, have in zip(spec.shape, shape, strict=True)
    ):
        raise InvalidInput(f"{shorten(what)} has the shape {shape}, where {tuple(spec.shape)} is wanted.")


def _string_array(cells: list[object], spec: TensorSpec, *, shape: tuple[int, ...], what: str) -> Array:
    bad = STRING.convert(cells)[1] + [
        (position, "null or ends in a NUL character, which numpy's strings cannot hold")
        for position, cell in enumerate(cells)
        if cell is None or (isinstance(cell, str) and cell.endswith("\0"))
    ]
    if bad:
        raise _invalid_cells(bad, shape, what=what)
    check_string_array_size(cells, what=what)
    try:
        return np.array(cells, dtype=spec.type).reshape(shape)
    except ValueError as error:
        raise InvalidInput(
            f"{shorten(what)} has a string that is not ASCII, where bytes are wanted."
        ) from error


def _invalid_cells(bad: list[tuple[int, str]], shape: tuple[int, ...], *, what: str) -> InvalidInput:
    step = prod(shape[1:]) or 1
    return invalid_input([InputProblem(position // step, shorten(what), reason) for position, reason in bad])


def flatten(payload: object, *, what: str) -> tuple[tuple[int, ...], list[object]]:
    """The shape of nested lists, and their values in C order. Raises InputRefused for ragged ones."""
    shape: list[int] = []
    cells = [payload]
    while cells and isinstance(cells[0], list):
        length = len(cells[0])
        lists = [cell for cell in cells if isinstance(cell, list) and len(cell) == length]
        if len(lists) != len(cells) or len(shape) == _MAX_DIMENSIONS:
            raise InvalidInput(
                f"{shorten(what)} is no array: its rows differ in length or depth, or it is too deep."
            )
        shape.append(length)
        cells = list(chain.from_iterable(lists))
    return tuple(shape), cells


def _object_array(payload: object, *, what: str) -> Array:
    try:
        return np.array(payload, dtype=object)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{shorten(what)} is no array: its rows differ in length or depth.") from error


def _converter_for(dtype: np.dtype[Any]) -> ScalarConverter:
    if dtype.kind == "b":
        return BOOLEAN
    if dtype.kind in "iu":
        return integer_converter(dtype, f"an array of {dtype}")
    if dtype.kind == "f":
        return float_converter(dtype, f"an array of {dtype}")
    if dtype == np.dtype("datetime64[ns]"):
        return DATETIME
    raise InvalidInput(f"The model takes an array of {dtype}, which has no JSON form.")


def _tensor_specs(input_spec: InputSpec) -> list[TensorSpec]:
    return [
        spec
        for spec in (input_spec.schema.inputs if input_spec.schema else ())
        if isinstance(spec, TensorSpec)
    ]
