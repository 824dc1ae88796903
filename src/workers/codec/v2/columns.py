"""One Open Inference tensor as the values of one column, by its content type or the signature's."""

from __future__ import annotations

import base64
import binascii
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow.types.schema import DataType

from workers.codec.input_errors import shorten
from workers.codec.json import text as json_text
from workers.codec.v2.tensors import BYTES
from workers.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workers.codec.v2.tensors import Tensor

# What MLServer's codecs call the forms of a tensor; `np` says nothing of BYTES that its type does not say.
CONTENT_TYPES = ("np", "str", "base64", "datetime", "pd_json")
NANOSECONDS_PER_UNIT = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_MAX_NANOSECONDS = 2**63 - 1


def column_values(tensor: Tensor, kind: Any) -> Sequence[object] | np.ndarray[Any, Any]:
    """The tensor's values, one per row, for a column of MLflow's type `kind`; None: of no known type.

    Raises InputRefused where they are not one per row, or not of the content type.
    """
    if (
        tensor.datatype != BYTES
        and not _has_one_value_per_row(tensor)
        and kind is not None
        and not isinstance(kind, DataType)
    ):
        rows: list[object] = tensor.array.tolist()  # each row is a list, which the type may be
        return rows
    if not _has_one_value_per_row(tensor):
        raise InvalidInput(
            f"{shorten(tensor.name)!r} has the shape {list(tensor.shape)}, where a column takes "
            "one value per row: [rows] or [rows, 1]."
        )
    return flat_values(tensor, kind)


def flat_values(tensor: Tensor, kind: Any) -> Sequence[object] | np.ndarray[Any, Any]:
    """The tensor's flat values as its content type, or the default for `kind`, has them."""
    if tensor.unit is not None or (tensor.datatype != BYTES and kind == DataType.datetime):
        return _to_datetimes(tensor, kind)
    if isinstance(tensor.values, np.ndarray):
        if tensor.content_type not in {None, "np"}:
            raise InvalidInput(
                f"{shorten(tensor.name)!r}: content_type {tensor.content_type} is for BYTES alone."
            )
        return tensor.values
    given = None if tensor.content_type == "np" else tensor.content_type
    form = given or _default_content_type(kind)
    if form == "base64":
        return _decode_binary(tensor, kind, said=given is not None)
    return _decode_each(tensor, _decode_json, "not JSON") if form == "pd_json" else decode_texts(tensor)


def _default_content_type(kind: Any) -> str:
    """The form of BYTES for a type: numbers are not written in BYTES unless the content type says so."""
    if isinstance(kind, DataType):
        return {DataType.binary: "base64", DataType.datetime: "datetime"}.get(kind, "str")
    return "str" if kind is None else "pd_json"


def decode_texts(tensor: Tensor) -> list[Any]:
    """The elements of a BYTES tensor as text. Raises InputRefused where one is not UTF-8."""
    if isinstance(tensor.values, np.ndarray):
        raise InvalidInput(f"{shorten(tensor.name)!r} is {tensor.datatype}, where BYTES are wanted.")
    return _decode_each(tensor, _decode_text, "not UTF-8")


def to_base64_texts(tensor: Tensor) -> list[Any]:
    """The elements as JSON has binary data: raw bytes become base64."""
    raw = tensor.content_type != "base64"
    return _decode_each(
        tensor, lambda value: _encode_base64(value) if raw else _decode_text(value), "not ASCII"
    )


def _has_one_value_per_row(tensor: Tensor) -> bool:
    return len(tensor.shape) > 0 and prod(tensor.shape[1:]) == 1


def _decode_binary(tensor: Tensor, kind: Any, *, said: bool) -> Sequence[object] | np.ndarray[Any, Any]:
    """Base64 as text for a binary column; raw bytes, where they came so and are not said to be base64."""
    if kind is not None and kind != DataType.binary:
        raise InvalidInput(f"{shorten(tensor.name)!r}: content_type base64 is for binary columns.")
    raw = not said and any(isinstance(value, bytes) for value in tensor.values)
    if not raw and kind is not None:
        return decode_texts(tensor)
    elements = list(tensor.values) if raw else _decode_each(tensor, _decode_base64, "not base64")
    made = np.empty(len(elements), dtype=object)
    made[:] = elements
    return made


def _to_datetimes(tensor: Tensor, kind: Any) -> np.ndarray[Any, Any]:
    """INT64 since 1970 in `unit` as datetime64[ns]. Raises InputRefused."""
    name = shorten(tensor.name)
    factor = NANOSECONDS_PER_UNIT.get(tensor.unit or "")
    if factor is None or tensor.datatype != "INT64" or kind not in (None, DataType.datetime):
        raise InvalidInput(
            f"{name!r}: a datetime is BYTES in ISO 8601, or INT64 with parameters.unit ({', '.join(NANOSECONDS_PER_UNIT)})."
        )
    values = np.asarray(tensor.values)
    most = _MAX_NANOSECONDS // factor
    if bad := [
        (int(at), "beyond the years 1677 to 2262")
        for at in np.flatnonzero((values > most) | (values < -most))
    ]:
        raise tensor.invalid_values(bad)
    return (values * factor).view("datetime64[ns]")


def _decode_each(tensor: Tensor, read: Callable[[Any], object], reason: str) -> list[Any]:
    """Every element read, null as it is; refused with the positions where `read` raises ValueError."""
    made: list[object] = []
    bad: list[tuple[int, str]] = []
    for at, value in enumerate(tensor.values):
        try:
            made.append(None if value is None else read(value))
        except (ValueError, InvalidInput):
            bad.append((at, reason))
    if bad:
        raise tensor.invalid_values(bad)
    return made


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
