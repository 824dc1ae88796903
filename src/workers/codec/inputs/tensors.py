"""JSON arrays for tensor signatures: of the signature's dtype and shape, or refused."""

from __future__ import annotations

from itertools import chain
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow.types.schema import TensorSpec

from workers.codec.input_errors import refusal, short
from workers.codec.inputs import arrays
from workers.codec.inputs.scalars import BOOLEAN, DATETIME, STRING, Rule, floats, integers
from workers.errors import InvalidInput
from workers.protocol.messages import InputProblem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workers.codec.inputs.tables import Table
    from workers.codec.signature import Plan


_LIMIT = 256 * 1024 * 1024
_CHARACTER = 4  # bytes, in numpy's unicode strings


def check(cells: Sequence[object], *, what: str) -> None:
    """Raises InputRefused where an array of the strings in `cells` would be too large."""
    longest = max((len(cell) for cell in cells if isinstance(cell, str)), default=0)
    if len(cells) * longest * _CHARACTER > _LIMIT:
        raise InvalidInput(
            f"{short(what)} has {len(cells)} values, the longest of {longest} characters: as an array of"
            f" strings, where each takes as much as the longest, that is more than {_LIMIT // 1024**2} MiB."
        )


Array = np.ndarray[Any, Any]

_DEPTH = 32  # numpy's arrays have at most 64 dimensions


def tensors(payload: object, plan: Plan, *, what: str) -> Any:
    """`payload` as one ndarray, or one per name where the signature has names. Raises InputRefused.

    Arrays in it are lists, or ndarrays with a type of their own.
    """
    specs = _specs(plan)
    named = {str(spec.name): spec for spec in specs if spec.name is not None}
    if isinstance(payload, dict) and not named:
        raise InvalidInput(f"{what} must be an array; the model's signature names no inputs.")
    if isinstance(payload, dict):
        problems = [
            InputProblem(None, short(name), "not an input of the signature") for name in payload.keys() - named.keys()
        ]
        problems += [InputProblem(None, name, "missing") for name in named.keys() - payload.keys()]
        if problems:
            raise refusal(problems)
        return {name: _tensor(payload[name], spec, what=name) for name, spec in named.items()}
    if len(specs) != 1:
        raise InvalidInput(f"{what} must be an object with one array per input of the signature.")
    return _tensor(payload, specs[0], what=what)


def stacked(records: list[Mapping[str, object]], plan: Plan, *, what: str) -> Any:
    """A list of objects, one per row, as one ndarray per name. Raises InputRefused."""
    names = list(records[0])
    if uneven := [row for row, record in enumerate(records) if record.keys() != records[0].keys()]:
        raise refusal([InputProblem(uneven[0], None, f"has other names than the first row of {what}")])
    return tensors({name: [record[name] for record in records] for name in names}, plan, what=what)


def from_table(table: Table, plan: Plan) -> Any:
    """A table's columns, each of scalars or flat lists, as the signature's tensors. Raises InputRefused."""
    specs = _specs(plan)
    if plan.schema is not None and plan.schema.has_input_names() and table.names is not None:
        columns = dict(zip(map(str, table.names), table.values, strict=True))
        if len(columns) != len(table.names):
            raise InvalidInput("columns names one column twice: once as a number, once as a string.")
        shapes = {spec.name: spec for spec in specs}
        return tensors(
            {name: _rows(list(cells), shapes.get(name)) for name, cells in columns.items()},
            plan,
            what="the table",
        )
    if len(table.values) == 1:
        return tensors(_rows(list(table.values[0]), specs[0]), plan, what="the table")
    return tensors([list(row) for row in zip(*table.values, strict=True)], plan, what="the table")


def _rows(cells: list[object], spec: TensorSpec | None) -> object:
    """Flat cells of a table, folded as the signature's shape wants each row."""
    if spec is None or spec.shape[0] != -1 or -1 in spec.shape[1:]:
        return cells
    return [_folded(cell, tuple(spec.shape[1:])) for cell in cells]


def _folded(cell: object, shape: tuple[int, ...]) -> object:
    if shape == (1,) and not isinstance(cell, list):
        return [cell]
    if len(shape) < 2 or not isinstance(cell, list) or len(cell) != prod(shape) or isinstance(cell[0], list):
        return cell
    step = prod(shape[1:])
    return [_folded(cell[start : start + step], shape[1:]) for start in range(0, len(cell), step)]


def _tensor(payload: object, spec: TensorSpec, *, what: str) -> Array:
    """`payload` as an ndarray of the spec's dtype and shape, with no value changed."""
    if spec.type.kind == "O":
        return _objects(payload, what=what)
    if isinstance(payload, np.ndarray):
        _check_shape(payload.shape, spec, what=what)
        if (made := arrays.cast(payload, spec.type)) is not None:
            return made
        shape, cells = payload.shape, list(arrays.cells(payload.ravel()))
    else:
        shape, cells = flattened(payload, what=what)
        _check_shape(shape, spec, what=what)
    if spec.type.kind in "US":
        return _texts(cells, spec, shape=shape, what=what)
    built, bad = _rule(spec.type).read(cells)
    if bad:
        raise _cells_refused(bad, shape, what=what)
    return np.asarray(built).astype(spec.type, copy=False).reshape(shape)


def _check_shape(shape: tuple[int, ...], spec: TensorSpec, *, what: str) -> None:
    if len(shape) != len(spec.shape) or any(
        want not in {-1, have} for want, have in zip(spec.shape, shape, strict=True)
    ):
        raise InvalidInput(f"{short(what)} has the shape {shape}, where {tuple(spec.shape)} is wanted.")


def _texts(cells: list[object], spec: TensorSpec, *, shape: tuple[int, ...], what: str) -> Array:
    bad = STRING.read(cells)[1] + [
        (position, "null or ends in a NUL character, which numpy's strings cannot hold")
        for position, cell in enumerate(cells)
        if cell is None or (isinstance(cell, str) and cell.endswith("\0"))
    ]
    if bad:
        raise _cells_refused(bad, shape, what=what)
    check(cells, what=what)
    try:
        return np.array(cells, dtype=spec.type).reshape(shape)
    except ValueError as error:
        raise InvalidInput(
            f"{short(what)} has a string that is not ASCII, where bytes are wanted."
        ) from error


def _cells_refused(bad: list[tuple[int, str]], shape: tuple[int, ...], *, what: str) -> InvalidInput:
    step = prod(shape[1:]) or 1
    return refusal([InputProblem(position // step, short(what), reason) for position, reason in bad])


def flattened(payload: object, *, what: str) -> tuple[tuple[int, ...], list[object]]:
    """The shape of nested lists, and their values in C order. Raises InputRefused for ragged ones."""
    shape: list[int] = []
    cells = [payload]
    while cells and isinstance(cells[0], list):
        length = len(cells[0])
        lists = [cell for cell in cells if isinstance(cell, list) and len(cell) == length]
        if len(lists) != len(cells) or len(shape) == _DEPTH:
            raise InvalidInput(
                f"{short(what)} is no array: its rows differ in length or depth, or it is too deep."
            )
        shape.append(length)
        cells = list(chain.from_iterable(lists))
    return tuple(shape), cells


def _objects(payload: object, *, what: str) -> Array:
    try:
        return np.array(payload, dtype=object)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{short(what)} is no array: its rows differ in length or depth.") from error


def _rule(dtype: np.dtype[Any]) -> Rule:
    if dtype.kind == "b":
        return BOOLEAN
    if dtype.kind in "iu":
        return integers(dtype, f"an array of {dtype}")
    if dtype.kind == "f":
        return floats(dtype, f"an array of {dtype}")
    if dtype == np.dtype("datetime64[ns]"):
        return DATETIME
    raise InvalidInput(f"The model takes an array of {dtype}, which has no JSON form.")


def _specs(plan: Plan) -> list[TensorSpec]:
    return [spec for spec in (plan.schema.inputs if plan.schema else ()) if isinstance(spec, TensorSpec)]
