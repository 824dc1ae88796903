"""Open Inference tensors as the model's input: a frame, arrays by name, one array, or texts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mlflow.types.schema import DataType, TensorSpec

from workers.codec.input_errors import invalid_input, shorten
from workers.codec.inputs import arrays as typed
from workers.codec.inputs import tables, tensors
from workers.codec.inputs.frames import to_frame
from workers.codec.inputs.inferred import infer_series
from workers.codec.v2.columns import column_values, decode_texts, flat_values, to_base64_texts
from workers.codec.v2.tensors import BYTES, Tensor
from workers.errors import InvalidInput
from workers.protocol.messages import InputProblem

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.codec.signature import Column, InputSpec

    Tensors = tuple[Tensor, ...]

Array = np.ndarray[Any, Any]


def to_model_input(given: Tensors, content_type: str | None, spec: InputSpec) -> object:
    """What `predict` takes: as the request's content type says, else as the signature does.

    Raises InputRefused.
    """
    if spec.type_hinted:
        return _to_type_hinted_input(_single_tensor(given), spec)
    return _DECODERS[content_type or _default_content_type(given, spec)](given, spec)


def _default_content_type(given: Tensors, spec: InputSpec) -> str:
    if spec.schema is None:
        return "np" if len(given) == 1 else "pd"
    if spec.columns is not None:
        return "pd"
    return "dict" if spec.schema.has_input_names() else "np"


def _decode_pd(given: Tensors, spec: InputSpec) -> object:
    if len(given) == 1 and len(given[0].shape) == 2 and spec.columns is not None and len(spec.columns) > 1:
        return _decode_np(given, spec) if not spec.has_column_names else _tensors_to_frame(given, spec)
    return _tensors_to_frame(given, spec)


def _tensors_to_frame(given: Tensors, spec: InputSpec) -> object:
    """A frame with one column per tensor."""
    if (uneven := {tensor.num_rows for tensor in given}) and len(uneven) != 1:
        raise InvalidInput(f"The inputs have different numbers of rows: {sorted(uneven)[:5]}.")
    columns = _match_columns(given, spec)
    values = [_read_column(tensor, kind, spec) for tensor, kind in columns]
    names = [tensor.name for tensor, _ in columns]
    if spec.schema is None or spec.input_checks == "mlflow":
        made = {
            at: cells if isinstance(cells, np.ndarray) else infer_series(cells)
            for at, cells in enumerate(values)
        }
        untyped = pd.DataFrame(made, copy=False)
        untyped.columns = (
            pd.Index(names) if spec.has_column_names or spec.columns is None else untyped.columns
        )
        return untyped
    named = tuple(names) if spec.has_column_names or spec.columns is None else None
    table = tables.Table(named, tuple(values), given[0].num_rows if given else 0)
    if spec.columns is not None:
        return to_frame(table, spec)
    listed = tuple(
        typed.to_json_values(cells) if isinstance(cells, np.ndarray) else cells for cells in values
    )
    return tensors.table_to_tensors(replace(table, columns=listed), spec)


def _read_column(tensor: Tensor, kind: Column | None, spec: InputSpec) -> Any:
    if kind is None and spec.columns is not None and spec.input_checks == "strict":
        return range(
            tensor.num_rows
        )  # a column that the signature does not know: `frame` refuses it by its name
    return column_values(tensor, kind.type if kind else None)


def _match_columns(given: Tensors, spec: InputSpec) -> list[tuple[Tensor, Column | None]]:
    """Each tensor beside the signature's column of its name, or for nameless columns of its `input-0`, …"""
    known = spec.columns or ()
    if spec.columns is None or spec.has_column_names:
        by_name = {kind.name: kind for kind in known}
        return [(tensor, by_name.get(tensor.name)) for tensor in given]
    if len(known) == len(given) == 1:
        return [(given[0], known[0])]
    names = [f"input-{at}" for at in range(len(known))]
    problems = [
        InputProblem(None, shorten(tensor.name), "not an input of the model")
        for tensor in given
        if tensor.name not in names
    ]
    by_input = {tensor.name: tensor for tensor in given}
    problems += [InputProblem(None, name, "missing") for name in names if name not in by_input]
    if problems:
        raise invalid_input(
            problems, what="The model's inputs have no names and are input-0, input-1, … here"
        )
    return [(by_input[name], kind) for name, kind in zip(names, known, strict=True)]


def _decode_np(given: Tensors, spec: InputSpec) -> object:
    """The one tensor as an array; for a signature of columns, a frame of its columns by position."""
    tensor = _single_tensor(given)
    if spec.columns is not None:
        return _frame_by_position(tensor, spec)
    array = _to_array(tensor, spec)
    if spec.schema is None or spec.input_checks == "mlflow":
        return array
    return tensors.to_tensors(
        _drop_extra_dimension(array, tensor.name, spec), spec, what=shorten(tensor.name)
    )


def _frame_by_position(tensor: Tensor, spec: InputSpec) -> object:
    if len(tensor.shape) > 2 or not tensor.shape:
        raise InvalidInput(
            f"{shorten(tensor.name)!r} must have the shape [rows, columns]; the model takes a table."
        )
    width, kinds = tensor.shape[1] if len(tensor.shape) == 2 else 1, spec.columns or ()
    if width != len(kinds):
        raise InvalidInput(f"The model takes {len(kinds)} columns; {shorten(tensor.name)!r} has {width}.")
    parts = [
        replace(tensor, shape=(tensor.num_rows,), values=part if tensor.datatype != BYTES else part.tolist())
        for part in tensor.array.reshape(tensor.num_rows, width).T
    ]
    values: list[Any] = [flat_values(part, kind.type) for part, kind in zip(parts, kinds, strict=True)]
    if spec.input_checks == "mlflow":
        return pd.DataFrame(dict(enumerate(values)), copy=False)
    return to_frame(tables.Table(None, tuple(values), tensor.num_rows), spec)


def _decode_dict(given: Tensors, spec: InputSpec) -> object:
    """An array per name; a frame where the signature has columns, as MLflow makes it of such."""
    if spec.columns is not None:
        return _tensors_to_frame(given, spec)
    arrays = {tensor.name: _to_array(tensor, spec) for tensor in given}
    if spec.schema is None or spec.input_checks == "mlflow":
        return arrays
    return tensors.to_tensors(
        {name: _drop_extra_dimension(array, name, spec) for name, array in arrays.items()},
        spec,
        what="inputs",
    )


def _decode_str(given: Tensors, spec: InputSpec) -> object:
    """The one tensor as a list of texts; in the signature's form where there is one."""
    tensor = _single_tensor(given)
    listed = decode_texts(tensor)
    if spec.schema is None or spec.input_checks == "mlflow":
        return listed
    if spec.columns is not None:
        return to_frame(tables.from_cells(listed), spec)
    return tensors.to_tensors(
        _drop_extra_dimension(_to_array(tensor, spec), tensor.name, spec), spec, what=shorten(tensor.name)
    )


def _to_type_hinted_input(tensor: Tensor, spec: InputSpec) -> list[Any]:
    """The one tensor as the list that the JSON form `inputs` would be: the model checks it by its hint."""
    kind = spec.columns[0].type if spec.columns else None
    if kind == DataType.binary and tensor.datatype == BYTES:
        return to_base64_texts(tensor)
    cells = column_values(tensor, kind)
    if isinstance(cells, np.ndarray) and cells.dtype.kind == "M":
        return [str(np.datetime_as_string(cell)) for cell in cells]
    return list(typed.to_json_values(cells) if isinstance(cells, np.ndarray) else cells)


def _single_tensor(given: Tensors) -> Tensor:
    if len(given) != 1:
        names = ", ".join(repr(shorten(tensor.name)) for tensor in given[1:6])
        raise InvalidInput(
            f"The model takes one input; the body has {len(given)}{f': also {names}' if given else ''}."
        )
    return given[0]


def _to_array(tensor: Tensor, spec: InputSpec) -> Array:
    """The tensor as an array of its own type; texts as numpy's strings where these hold them."""
    kind = DataType.datetime if tensor.unit is not None and _accepts_datetimes(tensor, spec) else None
    cells = flat_values(tensor, kind)
    if isinstance(cells, np.ndarray):
        return cells.reshape(tensor.shape)
    tensors.check_string_array_size(cells, what=tensor.name)
    plain = np.array(cells) if set(map(type, cells)) == {str} else None
    if plain is not None and plain.tolist() == cells:
        return plain.reshape(tensor.shape)
    made = np.empty(len(cells), dtype=object)
    made[:] = cells
    return made.reshape(tensor.shape)


def _drop_extra_dimension(array: Array, name: str, input_spec: InputSpec) -> Array:
    """The array without a last dimension of 1 too many, which MLServer's clients give to lists."""
    specs = input_spec.schema.inputs if input_spec.schema is not None else ()
    ranks = {len(spec.shape) for spec in specs if isinstance(spec, TensorSpec) and spec.name in {None, name}}
    return array[..., 0] if ranks == {array.ndim - 1} and array.shape[-1] == 1 else array


def _accepts_datetimes(tensor: Tensor, input_spec: InputSpec) -> bool:
    specs = input_spec.schema.inputs if input_spec.schema is not None else ()
    if any(getattr(spec.type, "kind", "") == "M" for spec in specs if spec.name in {None, tensor.name}):
        return True
    if input_spec.schema is None:
        return True
    raise InvalidInput(f"{shorten(tensor.name)!r}: parameters.unit is for datetimes.")


_DECODERS: dict[str, Callable[[Tensors, InputSpec], object]] = {
    "pd": _decode_pd,
    "np": _decode_np,
    "dict": _decode_dict,
    "str": _decode_str,
}
CONTENT_TYPES = tuple(_DECODERS)
