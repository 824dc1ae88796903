"""Input for signatures of tensors: arrays of the signature's dtype and shape, without loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from math import prod
from typing import Any

import numpy as np
from mlflow.types.schema import TensorSpec

from workers.codec.input_errors import first_problems, invalid_input, shorten
from workers.codec.inputs import arrays
from workers.codec.inputs.scalars import (
    BOOLEAN,
    DATETIME,
    STRING,
    CellErrors,
    ScalarConverter,
    float_converter,
    integer_converter,
)
from workers.codec.inputs.tables import Table, names_to_text
from workers.codec.signature import InputSpec
from workers.errors import InvalidInput
from workers.protocol.messages import InputProblem

Array = np.ndarray[Any, Any]

MAX_DIMENSIONS = 32  # numpy's arrays have at most 64
_MAX_STRING_ARRAY_BYTES = 256 * 1024 * 1024
_BYTES_PER_CHARACTER = 4  # in numpy's unicode strings


def check_string_array_size(cells: Sequence[object], *, what: str) -> None:
    """Raise InvalidInput if an array of the strings in `cells` would be too large."""
    longest = max((len(cell) for cell in cells if isinstance(cell, str)), default=0)
    if len(cells) * longest * _BYTES_PER_CHARACTER > _MAX_STRING_ARRAY_BYTES:
        raise InvalidInput(
            f"{shorten(what)} has {len(cells)} values, the longest of {longest} characters."
            " An array of strings gives each the size of the longest, here more than"
            f" {_MAX_STRING_ARRAY_BYTES // 1024**2} MiB in total."
        )


def tensor_specs(spec: InputSpec) -> list[TensorSpec]:
    """Return the tensors of the signature, none if it has columns or is missing."""
    inputs = spec.schema.inputs if spec.schema is not None else ()
    return [tensor for tensor in inputs if isinstance(tensor, TensorSpec)]


def to_tensors(payload: object, spec: InputSpec, *, what: str) -> Any:
    """Return `payload` as one ndarray, or as one per name if the signature has names. Raises InvalidInput.

    Its arrays are lists of JSON values, or ndarrays of any dtype.
    """
    tensors = tensor_specs(spec)
    named = {str(tensor.name): tensor for tensor in tensors if tensor.name is not None}
    if isinstance(payload, dict) and not named:
        raise InvalidInput(f"{what} must be an array; the model's signature names no inputs.")
    if isinstance(payload, dict):
        problems = first_problems(
            InputProblem(None, shorten(name), "not an input of the signature")
            for name in payload.keys() - named.keys()
        )
        problems += [InputProblem(None, name, "missing") for name in named.keys() - payload.keys()]
        if problems:
            raise invalid_input(problems)
        arrays = {name: _to_tensor(payload[name], tensor, what=name) for name, tensor in named.items()}
        return {named[name].name: array for name, array in arrays.items()}
    if len(tensors) != 1:
        raise InvalidInput(f"{what} must be an object with one array per input of the signature.")
    return _to_tensor(payload, tensors[0], what=what)


def records_to_tensors(records: list[Mapping[str, object]], spec: InputSpec, *, what: str) -> Any:
    """Return a list of objects, one per row, as one ndarray per name. Raises InvalidInput."""
    names = records[0].keys()
    uneven = next((row for row, record in enumerate(records) if record.keys() != names), None)
    if uneven is not None:
        raise invalid_input([InputProblem(uneven, None, f"has other names than the first row of {what}")])
    return to_tensors({name: [record[name] for record in records] for name in names}, spec, what=what)


def table_to_tensors(table: Table, spec: InputSpec) -> Any:
    """Return columns of scalars or flat lists as the signature's tensors. Raises InvalidInput."""
    tensors = tensor_specs(spec)
    if table.names is not None and tensors[0].name is not None:
        columns = dict(zip(names_to_text(table.names, spec), table.columns, strict=True))
        by_name = {str(tensor.name): tensor for tensor in tensors}
        payload: object = {name: _fold_rows(cells, by_name.get(name)) for name, cells in columns.items()}
    elif len(table.columns) == 1:
        payload = _fold_rows(table.columns[0], tensors[0])
    else:
        if tensors[0].type.kind != "O":  # before Python objects are made of the cells
            _check_shape((table.num_rows, len(table.columns)), tensors[0], what="the table")
        payload = [list(row) for row in zip(*table.columns, strict=True)]
    return to_tensors(payload, spec, what="the table")


def _fold_rows(cells: Sequence[object], tensor: TensorSpec | None) -> object:
    """Return the cells of a column, each folded into the shape of a row of the tensor."""
    if tensor is None or tensor.shape[0] != -1 or -1 in tensor.shape[1:]:
        return list(cells)
    return [_fold_cell(cell, tuple(tensor.shape[1:])) for cell in cells]


def _fold_cell(cell: object, shape: tuple[int, ...]) -> object:
    if shape == (1,) and not isinstance(cell, list):
        return [cell]
    if len(shape) < 2 or not isinstance(cell, list) or len(cell) != prod(shape) or isinstance(cell[0], list):
        return cell
    step = prod(shape[1:])
    return [_fold_cell(cell[start : start + step], shape[1:]) for start in range(0, len(cell), step)]


def _to_tensor(payload: object, spec: TensorSpec, *, what: str) -> Array:
    """Return `payload` as an ndarray of the spec's dtype and shape, with no value changed."""
    if spec.type.kind == "O":
        return _object_array(payload, what=what)
    if isinstance(payload, np.ndarray):
        _check_shape(payload.shape, spec, what=what)
        if (cast := arrays.safe_cast(payload, spec.type)) is not None:
            return cast
        shape, cells = payload.shape, list(arrays.to_json_values(payload.ravel()))
    else:
        shape, cells = flatten(payload, what=what)
        _check_shape(shape, spec, what=what)
    if spec.type.kind in "US":
        return _string_array(cells, spec, shape=shape, what=what)
    converted, errors = _converter_for(spec.type).convert(cells)
    if errors:
        raise _invalid_cells(errors, shape, what=what)
    return np.asarray(converted).astype(spec.type, copy=False).reshape(shape)


def _check_shape(shape: tuple[int, ...], spec: TensorSpec, *, what: str) -> None:
    if len(shape) != len(spec.shape) or any(
        expected not in {-1, actual} for expected, actual in zip(spec.shape, shape, strict=True)
    ):
        raise InvalidInput(f"{shorten(what)} has the shape {shape}, expected {tuple(spec.shape)}.")


def _string_array(cells: list[object], spec: TensorSpec, *, shape: tuple[int, ...], what: str) -> Array:
    errors = STRING.convert(cells)[1] + first_problems(
        (position, "null or ends in a NUL character, which numpy's strings cannot hold")
        for position, cell in enumerate(cells)
        if cell is None or (isinstance(cell, str) and cell.endswith("\0"))
    )
    if errors:
        raise _invalid_cells(errors, shape, what=what)
    check_string_array_size(cells, what=what)
    try:
        return np.array(cells, dtype=spec.type).reshape(shape)
    except ValueError as error:
        raise InvalidInput(f"{shorten(what)} has a string that is not ASCII, expected bytes.") from error


def _invalid_cells(errors: CellErrors, shape: tuple[int, ...], *, what: str) -> InvalidInput:
    step = prod(shape[1:]) or 1
    return invalid_input(
        [InputProblem(position // step, shorten(what), reason) for position, reason in errors]
    )


def flatten(payload: object, *, what: str) -> tuple[tuple[int, ...], list[object]]:
    """Return the shape of nested lists, and their values in C order. Raises InvalidInput for ragged lists."""
    shape: list[int] = []
    cells = [payload]
    while cells and isinstance(cells[0], list):
        length = len(cells[0])
        lists = [cell for cell in cells if isinstance(cell, list) and len(cell) == length]
        if len(lists) != len(cells) or len(shape) == MAX_DIMENSIONS:
            raise InvalidInput(
                f"{shorten(what)} is not an array: its rows differ in length or depth, or it is too deep."
            )
        shape.append(length)
        cells = list(chain.from_iterable(lists))
    return tuple(shape), cells


def _object_array(payload: object, *, what: str) -> Array:
    try:
        return np.array(payload, dtype=object)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{shorten(what)} is not an array: its rows differ in length or depth.") from error


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
