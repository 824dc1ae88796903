"""The values of an Open Inference tensor for a column, by its content type or the signature."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from mlflow.types.schema import DataType

from workers.codec.input_errors import MAX_PROBLEMS, shorten
from workers.codec.inputs.arrays import NANOSECONDS_PER_UNIT, to_datetimes
from workers.codec.inputs.scalars import CellErrors
from workers.codec.json import text as json_text
from workers.codec.v2.tensors import BYTES, Tensor, object_array
from workers.errors import InvalidInput

# The names of MLServer's codecs; `np` adds nothing to what the datatype BYTES says.
CONTENT_TYPES = ("np", "str", "base64", "datetime", "pd_json")

ColumnValues = Sequence[object] | np.ndarray[Any, Any]


def column_values(tensor: Tensor, column_type: Any) -> ColumnValues:
    """Return the tensor's values, one per row, for a column of MLflow's type; None is an unknown type.

    Raises InvalidInput if the tensor has not one value per row, or does not fit its content type.
    """
    if _has_one_value_per_row(tensor):
        return flat_values(tensor, column_type)
    if tensor.datatype != BYTES and column_type is not None and not isinstance(column_type, DataType):
        rows: list[object] = tensor.array.tolist()  # each row is a list, which the type may allow
        return rows
    raise InvalidInput(
        f"{shorten(tensor.name)!r} has the shape {list(tensor.shape)}; a column takes "
        "one value per row: [rows] or [rows, 1]."
    )


def flat_values(tensor: Tensor, column_type: Any) -> ColumnValues:
    """Return the tensor's flat values, decoded by its content type or the default for `column_type`."""
    if tensor.unit is not None or (tensor.datatype != BYTES and column_type == DataType.datetime):
        return _decode_datetimes(tensor, column_type)
    if isinstance(tensor.values, np.ndarray):
        if tensor.content_type not in {None, "np"}:
            raise InvalidInput(
                f"{shorten(tensor.name)!r}: content_type {tensor.content_type} is for BYTES alone."
            )
        return tensor.values
    explicit = None if tensor.content_type == "np" else tensor.content_type
    content_type = explicit or _default_content_type(column_type)
    if content_type == "base64":
        return _decode_binary(tensor, column_type, is_base64=explicit is not None)
    if content_type == "pd_json":
        return _decode_each(tensor, _decode_json, "not JSON")
    return decode_texts(tensor)


def _default_content_type(column_type: Any) -> str:
    """Return the content type of BYTES for a column that is sent without one."""
    if isinstance(column_type, DataType):
        return {DataType.binary: "base64", DataType.datetime: "datetime"}.get(column_type, "str")
    return "str" if column_type is None else "pd_json"


def decode_texts(tensor: Tensor) -> list[Any]:
    """Return the elements of a BYTES tensor as text. Raises InvalidInput if one is not UTF-8."""
    if isinstance(tensor.values, np.ndarray):
        raise InvalidInput(f"{shorten(tensor.name)!r} is {tensor.datatype}, expected BYTES.")
    return _decode_each(tensor, _decode_text, "not UTF-8")


def to_base64_texts(tensor: Tensor) -> list[Any]:
    """Return the elements of a BYTES tensor as base64, as JSON has binary data."""
    encode = _decode_text if tensor.content_type == "base64" else _encode_base64
    return _decode_each(tensor, encode, "not ASCII")


def _has_one_value_per_row(tensor: Tensor) -> bool:
    return len(tensor.shape) > 0 and prod(tensor.shape[1:]) == 1


def _decode_binary(tensor: Tensor, column_type: Any, *, is_base64: bool) -> ColumnValues:
    """Return base64 text for a binary column, or bytes if they were sent raw or the type is unknown."""
    if column_type is not None and column_type != DataType.binary:
        raise InvalidInput(f"{shorten(tensor.name)!r}: content_type base64 is for binary columns.")
    if not is_base64 and any(isinstance(value, bytes) for value in tensor.values):
        return object_array(list(tensor.values))
    if column_type is not None:
        return decode_texts(tensor)
    return object_array(_decode_each(tensor, _decode_base64, "not base64"))


def _decode_datetimes(tensor: Tensor, column_type: Any) -> np.ndarray[Any, Any]:
    """Return INT64 counts since 1970 in `unit` as datetime64[ns]. Raises InvalidInput."""
    if (
        tensor.unit not in NANOSECONDS_PER_UNIT
        or tensor.datatype != "INT64"
        or column_type not in (None, DataType.datetime)
    ):
        raise InvalidInput(
            f"{shorten(tensor.name)!r}: a datetime is BYTES in ISO 8601, or INT64 with parameters.unit "
            f"({', '.join(NANOSECONDS_PER_UNIT)})."
        )
    datetimes, out_of_range = to_datetimes(np.asarray(tensor.values), tensor.unit)
    if out_of_range:
        raise tensor.invalid_values([(at, "beyond the years 1677 to 2262") for at in out_of_range])
    return datetimes


def _decode_each(tensor: Tensor, decode: Callable[[Any], object], reason: str) -> list[Any]:
    """Decode every element but null. Raises InvalidInput with `reason` for those that `decode` rejects."""
    decoded: list[object] = []
    errors: CellErrors = []
    for at, value in enumerate(tensor.values):
        try:
            decoded.append(None if value is None else decode(value))
        except (ValueError, InvalidInput):
            errors.append((at, reason))
            if len(errors) > MAX_PROBLEMS:
                break
    if errors:
        raise tensor.invalid_values(errors)
    return decoded


def _decode_text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _decode_json(value: str | bytes) -> object:
    return json_text.parse_json(value if isinstance(value, bytes) else value.encode())


def _encode_base64(value: str | bytes) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _decode_base64(value: str | bytes) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError from error
