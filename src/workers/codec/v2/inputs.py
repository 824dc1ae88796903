"""Open Inference tensors as the model's input: a frame, arrays by name, one array, or texts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mlflow.types.schema import DataType, TensorSpec

from workers.codec.input_errors import refusal, short
from workers.codec.inputs import arrays as typed
from workers.codec.inputs import tables, tensors
from workers.codec.inputs.frames import frame
from workers.codec.inputs.inferred import series
from workers.codec.v2.columns import base64_texts, column, flat, texts
from workers.codec.v2.tensors import BYTES, Tensor
from workers.errors import InvalidInput
from workers.protocol.messages import InputProblem

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.codec.signature import Column, Plan

    Tensors = tuple[Tensor, ...]

Array = np.ndarray[Any, Any]


def data(given: Tensors, content_type: str | None, plan: Plan) -> object:
    """What `predict` takes: as the request's content type says, else as the signature does.

    Raises InputRefused.
    """
    if plan.type_hinted:
        return _hinted(_only(given), plan)
    return _READERS[content_type or _default(given, plan)](given, plan)


def _default(given: Tensors, plan: Plan) -> str:
    if plan.schema is None:
        return "np" if len(given) == 1 else "pd"
    if plan.columns is not None:
        return "pd"
    return "dict" if plan.schema.has_input_names() else "np"


def _pd(given: Tensors, plan: Plan) -> object:
    if len(given) == 1 and len(given[0].shape) == 2 and plan.columns is not None and len(plan.columns) > 1:
        return _np(given, plan) if not plan.named else _framed(given, plan)
    return _framed(given, plan)


def _framed(given: Tensors, plan: Plan) -> object:
    """A frame with one column per tensor."""
    if (uneven := {tensor.rows for tensor in given}) and len(uneven) != 1:
        raise InvalidInput(f"The inputs have different numbers of rows: {sorted(uneven)[:5]}.")
    columns = _columns(given, plan)
    values = [_values(tensor, kind, plan) for tensor, kind in columns]
    names = [tensor.name for tensor, _ in columns]
    if plan.schema is None or plan.checks == "mlflow":
        made = {
            at: cells if isinstance(cells, np.ndarray) else series(cells) for at, cells in enumerate(values)
        }
        untyped = pd.DataFrame(made, copy=False)
        untyped.columns = pd.Index(names) if plan.named or plan.columns is None else untyped.columns
        return untyped
    named = tuple(names) if plan.named or plan.columns is None else None
    table = tables.Table(named, tuple(values), given[0].rows if given else 0)
    if plan.columns is not None:
        return frame(table, plan)
    listed = tuple(typed.cells(cells) if isinstance(cells, np.ndarray) else cells for cells in values)
    return tensors.from_table(replace(table, values=listed), plan)


def _values(tensor: Tensor, kind: Column | None, plan: Plan) -> Any:
    if kind is None and plan.columns is not None and plan.checks == "strict":
        return range(tensor.rows)  # a column that the signature does not know: `frame` refuses it by its name
    return column(tensor, kind.type if kind else None)


def _columns(given: Tensors, plan: Plan) -> list[tuple[Tensor, Column | None]]:
    """Each tensor beside the signature's column of its name, or for nameless columns of its `input-0`, …"""
    known = plan.columns or ()
    if plan.columns is None or plan.named:
        by_name = {kind.name: kind for kind in known}
        return [(tensor, by_name.get(tensor.name)) for tensor in given]
    if len(known) == len(given) == 1:
        return [(given[0], known[0])]
    names = [f"input-{at}" for at in range(len(known))]
    problems = [
        InputProblem(None, short(tensor.name), "not an input of the model")
        for tensor in given
        if tensor.name not in names
    ]
    by_input = {tensor.name: tensor for tensor in given}
    problems += [InputProblem(None, name, "missing") for name in names if name not in by_input]
    if problems:
        raise refusal(problems, what="The model's inputs have no names and are input-0, input-1, … here")
    return [(by_input[name], kind) for name, kind in zip(names, known, strict=True)]


def _np(given: Tensors, plan: Plan) -> object:
    """The one tensor as an array; for a signature of columns, a frame of its columns by position."""
    tensor = _only(given)
    if plan.columns is not None:
        return _by_position(tensor, plan)
    array = _array(tensor, plan)
    if plan.schema is None or plan.checks == "mlflow":
        return array
    return tensors.tensors(_ranked(array, tensor.name, plan), plan, what=short(tensor.name))


def _by_position(tensor: Tensor, plan: Plan) -> object:
    if len(tensor.shape) > 2 or not tensor.shape:
        raise InvalidInput(
            f"{short(tensor.name)!r} must have the shape [rows, columns]; the model takes a table."
        )
    width, kinds = tensor.shape[1] if len(tensor.shape) == 2 else 1, plan.columns or ()
    if width != len(kinds):
        raise InvalidInput(f"The model takes {len(kinds)} columns; {short(tensor.name)!r} has {width}.")
    parts = [
        replace(tensor, shape=(tensor.rows,), values=part if tensor.datatype != BYTES else part.tolist())
        for part in tensor.array.reshape(tensor.rows, width).T
    ]
    values: list[Any] = [flat(part, kind.type) for part, kind in zip(parts, kinds, strict=True)]
    if plan.checks == "mlflow":
        return pd.DataFrame(dict(enumerate(values)), copy=False)
    return frame(tables.Table(None, tuple(values), tensor.rows), plan)


def _dict(given: Tensors, plan: Plan) -> object:
    """An array per name; a frame where the signature has columns, as MLflow makes it of such."""
    if plan.columns is not None:
        return _framed(given, plan)
    arrays = {tensor.name: _array(tensor, plan) for tensor in given}
    if plan.schema is None or plan.checks == "mlflow":
        return arrays
    return tensors.tensors(
        {name: _ranked(array, name, plan) for name, array in arrays.items()}, plan, what="inputs"
    )


def _str(given: Tensors, plan: Plan) -> object:
    """The one tensor as a list of texts; in the signature's form where there is one."""
    tensor = _only(given)
    listed = texts(tensor)
    if plan.schema is None or plan.checks == "mlflow":
        return listed
    if plan.columns is not None:
        return frame(tables.from_cells(listed), plan)
    return tensors.tensors(_ranked(_array(tensor, plan), tensor.name, plan), plan, what=short(tensor.name))


def _hinted(tensor: Tensor, plan: Plan) -> list[Any]:
    """The one tensor as the list that the JSON form `inputs` would be: the model checks it by its hint."""
    kind = plan.columns[0].type if plan.columns else None
    if kind == DataType.binary and tensor.datatype == BYTES:
        return base64_texts(tensor)
    cells = column(tensor, kind)
    if isinstance(cells, np.ndarray) and cells.dtype.kind == "M":
        return [str(np.datetime_as_string(cell)) for cell in cells]
    return list(typed.cells(cells) if isinstance(cells, np.ndarray) else cells)


def _only(given: Tensors) -> Tensor:
    if len(given) != 1:
        names = ", ".join(repr(short(tensor.name)) for tensor in given[1:6])
        raise InvalidInput(
            f"The model takes one input; the body has {len(given)}{f': also {names}' if given else ''}."
        )
    return given[0]


def _array(tensor: Tensor, plan: Plan) -> Array:
    """The tensor as an array of its own type; texts as numpy's strings where these hold them."""
    kind = DataType.datetime if tensor.unit is not None and _takes_times(tensor, plan) else None
    cells = flat(tensor, kind)
    if isinstance(cells, np.ndarray):
        return cells.reshape(tensor.shape)
    tensors.check(cells, what=tensor.name)
    plain = np.array(cells) if set(map(type, cells)) == {str} else None
    if plain is not None and plain.tolist() == cells:
        return plain.reshape(tensor.shape)
    made = np.empty(len(cells), dtype=object)
    made[:] = cells
    return made.reshape(tensor.shape)


def _ranked(array: Array, name: str, plan: Plan) -> Array:
    """The array without a last dimension of 1 too many, which MLServer's clients give to lists."""
    specs = plan.schema.inputs if plan.schema is not None else ()
    ranks = {len(spec.shape) for spec in specs if isinstance(spec, TensorSpec) and spec.name in {None, name}}
    return array[..., 0] if ranks == {array.ndim - 1} and array.shape[-1] == 1 else array


def _takes_times(tensor: Tensor, plan: Plan) -> bool:
    specs = plan.schema.inputs if plan.schema is not None else ()
    if any(getattr(spec.type, "kind", "") == "M" for spec in specs if spec.name in {None, tensor.name}):
        return True
    if plan.schema is None:
        return True
    raise InvalidInput(f"{short(tensor.name)!r}: parameters.unit is for datetimes.")


_READERS: dict[str, Callable[[Tensors, Plan], object]] = {"pd": _pd, "np": _np, "dict": _dict, "str": _str}
CONTENT_TYPES = tuple(_READERS)
