"""One Open Inference tensor as the values of one column, by its content type or the signature's."""

from __future__ import annotations

import base64
import binascii
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow.types.schema import DataType

from workers.codec.input_errors import short
from workers.codec.json import text as json_text
from workers.codec.v2.tensors import BYTES
from workers.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workers.codec.v2.tensors import Tensor

# What MLServer's codecs call the forms of a tensor; `np` says nothing of BYTES that its type does not say.
CONTENT_TYPES = ("np", "str", "base64", "datetime", "pd_json")
UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_MOST_NANOSECONDS = 2**63 - 1


def column(tensor: Tensor, kind: Any) -> Sequence[object] | np.ndarray[Any, Any]:
    """The tensor's values, one per row, for a column of MLflow's type `kind`; None: of no known type.

    Raises InputRefused where they are not one per row, or not of the content type.
    """
    if tensor.datatype != BYTES and not _flat(tensor) and kind is not None and not isinstance(kind, DataType):
        rows: list[object] = tensor.array.tolist()  # each row is a list, which the type may be
        return rows
    if not _flat(tensor):
        raise InvalidInput(
            f"{short(tensor.name)!r} has the shape {list(tensor.shape)}, where a column takes "
            "one value per row: [rows] or [rows, 1]."
        )
    return flat(tensor, kind)


def flat(tensor: Tensor, kind: Any) -> Sequence[object] | np.ndarray[Any, Any]:
    """The tensor's flat values as its content type, or the default for `kind`, has them."""
    if tensor.unit is not None or (tensor.datatype != BYTES and kind == DataType.datetime):
        return _times(tensor, kind)
    if isinstance(tensor.values, np.ndarray):
        if tensor.content_type not in {None, "np"}:
            raise InvalidInput(
                f"{short(tensor.name)!r}: content_type {tensor.content_type} is for BYTES alone."
            )
        return tensor.values
    given = None if tensor.content_type == "np" else tensor.content_type
    form = given or _default(kind)
    if form == "base64":
        return _binary(tensor, kind, said=given is not None)
    return _each(tensor, _json, "not JSON") if form == "pd_json" else texts(tensor)


def _default(kind: Any) -> str:
    """The form of BYTES for a type: numbers are not written in BYTES unless the content type says so."""
    if isinstance(kind, DataType):
        return {DataType.binary: "base64", DataType.datetime: "datetime"}.get(kind, "str")
    return "str" if kind is None else "pd_json"


def texts(tensor: Tensor) -> list[Any]:
    """The elements of a BYTES tensor as text. Raises InputRefused where one is not UTF-8."""
    if isinstance(tensor.values, np.ndarray):
        raise InvalidInput(f"{short(tensor.name)!r} is {tensor.datatype}, where BYTES are wanted.")
    return _each(tensor, _text, "not UTF-8")


def base64_texts(tensor: Tensor) -> list[Any]:
    """The elements as JSON has binary data: raw bytes become base64."""
    raw = tensor.content_type != "base64"
    return _each(tensor, lambda value: _encoded(value) if raw else _text(value), "not ASCII")


def _flat(tensor: Tensor) -> bool:
    return len(tensor.shape) > 0 and prod(tensor.shape[1:]) == 1


def _binary(tensor: Tensor, kind: Any, *, said: bool) -> Sequence[object] | np.ndarray[Any, Any]:
    """Base64 as text for a binary column; raw bytes, where they came so and are not said to be base64."""
    if kind is not None and kind != DataType.binary:
        raise InvalidInput(f"{short(tensor.name)!r}: content_type base64 is for binary columns.")
    raw = not said and any(isinstance(value, bytes) for value in tensor.values)
    if not raw and kind is not None:
        return texts(tensor)
    elements = list(tensor.values) if raw else _each(tensor, _decoded, "not base64")
    made = np.empty(len(elements), dtype=object)
    made[:] = elements
    return made


def _times(tensor: Tensor, kind: Any) -> np.ndarray[Any, Any]:
    """INT64 since 1970 in `unit` as datetime64[ns]. Raises InputRefused."""
    name = short(tensor.name)
    factor = UNITS.get(tensor.unit or "")
    if factor is None or tensor.datatype != "INT64" or kind not in (None, DataType.datetime):
        raise InvalidInput(
            f"{name!r}: a datetime is BYTES in ISO 8601, or INT64 with parameters.unit ({', '.join(UNITS)})."
        )
    values = np.asarray(tensor.values)
    most = _MOST_NANOSECONDS // factor
    if bad := [
        (int(at), "beyond the years 1677 to 2262")
        for at in np.flatnonzero((values > most) | (values < -most))
    ]:
        raise tensor.refused(bad)
    return (values * factor).view("datetime64[ns]")


def _each(tensor: Tensor, read: Callable[[Any], object], reason: str) -> list[Any]:
    """Every element read, null as it is; refused with the positions where `read` raises ValueError."""
    made: list[object] = []
    bad: list[tuple[int, str]] = []
    for at, value in enumerate(tensor.values):
        try:
            made.append(None if value is None else read(value))
        except (ValueError, InvalidInput):
            bad.append((at, reason))
    if bad:
        raise tensor.refused(bad)
    return made


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _json(value: str | bytes) -> object:
    return json_text.parse(value if isinstance(value, bytes) else value.encode())


def _encoded(value: str | bytes) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _decoded(value: str | bytes) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError from error
