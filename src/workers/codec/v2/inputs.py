"""Open Inference tensors as the model's input: a frame, arrays by name, one array, or texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from mlflow.types.schema import DataType, TensorSpec

from workers.codec.input_errors import MAX_DETAILS, first_problems, invalid_input, shorten
from workers.codec.inputs import tables
from workers.codec.inputs.arrays import to_json_values
from workers.codec.inputs.frames import to_frame
from workers.codec.inputs.inferred import infer_series
from workers.codec.inputs.tensors import (
    check_string_array_size,
    table_to_tensors,
    tensor_specs,
    to_tensors,
)
from workers.codec.signature import Column, InputSpec
from workers.codec.v2.columns import (
    ColumnValues,
    column_values,
    decode_texts,
    flat_values,
    to_base64_texts,
)
from workers.codec.v2.tensors import BYTES, Tensor, object_array
from workers.errors import InvalidInput
from workers.protocol.messages import InputProblem

Tensors = tuple[Tensor, ...]
Array = np.ndarray[Any, Any]


def to_model_input(tensors: Tensors, content_type: str | None, spec: InputSpec) -> object:
    """Return the input of `predict`, by the request's content type or the signature. Raises InvalidInput."""
    if spec.type_hinted:
        return _to_type_hinted_input(_single_tensor(tensors), spec)
    return _DECODERS[content_type or _default_content_type(tensors, spec)](tensors, spec)


def _default_content_type(tensors: Tensors, spec: InputSpec) -> str:
    if spec.schema is None:
        return "np" if len(tensors) == 1 else "pd"
    if spec.columns is not None:
        return "pd"
    return "dict" if spec.schema.has_input_names() else "np"


def _decode_pd(tensors: Tensors, spec: InputSpec) -> object:
    """Return a frame with one column per tensor, or a matrix as a frame if no column has a name."""
    unnamed_columns = spec.columns is not None and len(spec.columns) > 1 and not spec.has_column_names
    if len(tensors) == 1 and len(tensors[0].shape) == 2 and unnamed_columns:
        return _decode_np(tensors, spec)
    return _tensors_to_frame(tensors, spec)


def _tensors_to_frame(tensors: Tensors, spec: InputSpec) -> object:
    """Return a frame with one column per tensor; for a signature of tensors, its columns as arrays."""
    lengths = {tensor.num_rows for tensor in tensors}
    if len(lengths) > 1:
        raise InvalidInput(f"The inputs have different numbers of rows: {sorted(lengths)[:5]}.")
    columns = _match_columns(tensors, spec)
    values = [_read_column(tensor, column, spec) for tensor, column in columns]
    keep_names = spec.has_column_names or spec.columns is None
    names = tuple(tensor.name for tensor, _ in columns) if keep_names else None
    if spec.schema is None or spec.input_checks == "mlflow":
        return _untyped_frame(values, _own_names(names, spec))
    table = tables.Table(names, tuple(values), tensors[0].num_rows if tensors else 0)
    if spec.columns is not None:
        return to_frame(table, spec)
    return table_to_tensors(replace(table, columns=tuple(map(_to_list, values))), spec)


def _own_names(names: tuple[str, ...] | None, spec: InputSpec) -> list[Any] | None:
    """Return the names as the signature has them, which MLflow's own checks look for: it may have numbers."""
    numbers = {text: number for number, text in spec.number_names.items()}
    return None if names is None else [numbers.get(name, name) for name in names]


def _untyped_frame(columns: list[Any], names: list[Any] | None) -> pd.DataFrame:
    series = [cells if isinstance(cells, np.ndarray) else infer_series(cells) for cells in columns]
    frame = pd.DataFrame(dict(enumerate(series)), copy=False)
    if names is not None:
        frame.columns = pd.Index(names)
    return frame


def _to_list(values: ColumnValues) -> Any:
    return to_json_values(values) if isinstance(values, np.ndarray) else values


def _read_column(tensor: Tensor, column: Column | None, spec: InputSpec) -> Any:
    if column is None and spec.columns is not None and spec.input_checks == "strict":
        return range(tensor.num_rows)  # unknown to the signature: `to_frame` rejects it by its name
    return column_values(tensor, column.type if column else None)


def _match_columns(tensors: Tensors, spec: InputSpec) -> list[tuple[Tensor, Column | None]]:
    """Pair each tensor with the column of its name; unnamed columns are called `input-0`, `input-1`, …"""
    columns = spec.columns or ()
    if spec.columns is None or spec.has_column_names:
        by_name = {column.name: column for column in columns}
        return [(tensor, by_name.get(tensor.name)) for tensor in tensors]
    if len(columns) == len(tensors) == 1:
        return [(tensors[0], columns[0])]
    names = [f"input-{at}" for at in range(len(columns))]
    by_input = {tensor.name: tensor for tensor in tensors}
    problems = first_problems(
        InputProblem(None, shorten(name), "not an input of the model")
        for name in by_input
        if name not in names
    )
    problems += [InputProblem(None, name, "missing") for name in names if name not in by_input]
    if problems:
        raise invalid_input(
            problems, what="The model's inputs have no names and are input-0, input-1, … here"
        )
    return [(by_input[name], column) for name, column in zip(names, columns, strict=True)]


def _decode_np(tensors: Tensors, spec: InputSpec) -> object:
    """Return the one tensor as an array, or for a signature of columns as a frame by position."""
    tensor = _single_tensor(tensors)
    if spec.columns is not None:
        return _frame_by_position(tensor, spec)
    return _fit_array(tensor, spec)


def _fit_array(tensor: Tensor, spec: InputSpec) -> object:
    """Return the tensor as an array that fits the signature, if there is one."""
    array = _to_array(tensor, spec)
    if spec.schema is None or spec.input_checks == "mlflow":
        return array
    return to_tensors(_drop_extra_dimension(array, tensor.name, spec), spec, what=shorten(tensor.name))


def _frame_by_position(tensor: Tensor, spec: InputSpec) -> object:
    if len(tensor.shape) > 2 or not tensor.shape:
        raise InvalidInput(
            f"{shorten(tensor.name)!r} must have the shape [rows, columns]; the model takes a table."
        )
    width, columns = tensor.shape[1] if len(tensor.shape) == 2 else 1, spec.columns or ()
    if width != len(columns):
        raise InvalidInput(f"The model takes {len(columns)} columns; {shorten(tensor.name)!r} has {width}.")
    parts = [
        replace(tensor, shape=(tensor.num_rows,), values=part if tensor.datatype != BYTES else part.tolist())
        for part in tensor.array.reshape(tensor.num_rows, width).T
    ]
    values: list[Any] = [flat_values(part, column.type) for part, column in zip(parts, columns, strict=True)]
    if spec.input_checks == "mlflow":
        return pd.DataFrame(dict(enumerate(values)), copy=False)
    return to_frame(tables.Table(None, tuple(values), tensor.num_rows), spec)


def _decode_dict(tensors: Tensors, spec: InputSpec) -> object:
    """Return an array per name, or a frame if the signature has columns, as MLflow does."""
    if spec.columns is not None:
        return _tensors_to_frame(tensors, spec)
    arrays = {tensor.name: _to_array(tensor, spec) for tensor in tensors}
    if spec.schema is None or spec.input_checks == "mlflow":
        return dict(zip(_own_names(tuple(arrays), spec) or (), arrays.values(), strict=True))
    fitted = {name: _drop_extra_dimension(array, name, spec) for name, array in arrays.items()}
    return to_tensors(fitted, spec, what="inputs")


def _decode_str(tensors: Tensors, spec: InputSpec) -> object:
    """Return the one tensor as a list of texts, or in the form that the signature wants."""
    tensor = _single_tensor(tensors)
    texts = decode_texts(tensor)
    if spec.schema is None or spec.input_checks == "mlflow":
        return texts
    if spec.columns is not None:
        return to_frame(tables.from_cells(texts), spec)
    return _fit_array(tensor, spec)


def _to_type_hinted_input(tensor: Tensor, spec: InputSpec) -> list[Any]:
    """Return the one tensor as the list that the JSON form `inputs` has; the model checks its type hints."""
    column_type = spec.columns[0].type if spec.columns else None
    if column_type == DataType.binary and tensor.datatype == BYTES:
        return to_base64_texts(tensor)
    values = column_values(tensor, column_type)
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        return [str(np.datetime_as_string(value)) for value in values]
    return list(_to_list(values))


def _single_tensor(tensors: Tensors) -> Tensor:
    if len(tensors) != 1:
        others = ", ".join(repr(shorten(tensor.name)) for tensor in tensors[1 : MAX_DETAILS + 1])
        also = f": also {others}" if tensors else ""
        raise InvalidInput(f"The model takes one input; the body has {len(tensors)}{also}.")
    return tensors[0]


def _to_array(tensor: Tensor, spec: InputSpec) -> Array:
    """Return the tensor as an array of its own dtype; texts as numpy's strings if these hold them."""
    column_type = DataType.datetime if tensor.unit is not None and _accepts_datetimes(tensor, spec) else None
    cells = flat_values(tensor, column_type)
    if isinstance(cells, np.ndarray):
        return cells.reshape(tensor.shape)
    check_string_array_size(cells, what=tensor.name)
    strings = np.array(cells) if set(map(type, cells)) == {str} else None
    if strings is not None and strings.tolist() == cells:
        return strings.reshape(tensor.shape)
    return object_array(list(cells)).reshape(tensor.shape)


def _drop_extra_dimension(array: Array, name: str, spec: InputSpec) -> Array:
    """Return the array without the last dimension of 1 that MLServer's clients add to lists."""
    ranks = {len(tensor.shape) for tensor in tensor_specs(spec) if _is_called(tensor, name)}
    return array[..., 0] if ranks == {array.ndim - 1} and array.shape[-1] == 1 else array


def _is_called(expected: TensorSpec, name: str) -> bool:
    return expected.name is None or str(expected.name) == name


def _accepts_datetimes(tensor: Tensor, spec: InputSpec) -> bool:
    if spec.schema is None or any(
        expected.type.kind == "M" for expected in tensor_specs(spec) if _is_called(expected, tensor.name)
    ):
        return True
    raise InvalidInput(f"{shorten(tensor.name)!r}: parameters.unit is for datetimes.")


_DECODERS: dict[str, Callable[[Tensors, InputSpec], object]] = {
    "pd": _decode_pd,
    "np": _decode_np,
    "dict": _decode_dict,
    "str": _decode_str,
}
CONTENT_TYPES = tuple(_DECODERS)
