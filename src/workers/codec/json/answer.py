"""Predictions as JSON: always valid JSON, whatever the values."""

from __future__ import annotations

import base64
import datetime
import decimal
import enum
import json
import math
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import singledispatch
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import orjson
import pandas as pd

from workers.codec.input_errors import shorten
from workers.codec.key_text import key_to_text
from workers.codec.plain import datetime_to_iso, take_all, to_plain
from workers.codec.request import DecodedRequest, EncodedResponse
from workers.errors import ModelError

# orjson passes what it would write otherwise than MLflow to `_to_serializable`. Keys that are not strings are
# not among its options: it would not notice two keys of the same text.
_OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS

Array = np.ndarray[Any, Any]


def encode(predictions: object, request: DecodedRequest) -> EncodedResponse:
    """Encode the predictions as JSON. Raises ModelError if they have no JSON form."""
    return EncodedResponse(to_json(predictions), wrapped=request.wrapped)


def to_json(predictions: object) -> bytes:
    """Return the predictions as JSON, in the shapes of MLflow's scoring server.

    An ndarray becomes nested lists, a DataFrame or a Series a list of records. NaN and infinities become
    null, bytes base64, times ISO 8601. Raises ModelError, which names the type that has no JSON form.
    """
    try:
        return orjson.dumps(predictions, default=_to_serializable, option=_OPTIONS)
    except TypeError as error:
        if isinstance(error.__cause__, ModelError):
            raise error.__cause__ from None
        if isinstance(error.__cause__, _SingleUse) and isinstance(predictions, Iterator):
            return to_json(take_all(predictions))
    try:
        return orjson.dumps(_to_serializable_slow(predictions))
    except (RecursionError, orjson.JSONEncodeError):
        raise ModelError("The model returned a value that is nested too deeply for JSON.") from None


def split_to_json(predictions: Array, counts: Sequence[int]) -> list[bytes]:
    """Return the JSON of the first `counts[0]` rows of an array, of the next `counts[1]` rows, and so on."""
    if predictions.ndim == 1 and predictions.dtype.kind in "biuf" and not _is_masked(predictions):
        texts = to_json(predictions)[1:-1].split(b",")  # no number has a comma in it
        if len(texts) == len(counts):
            return [b"[%b]" % text for text in texts]
        return [b"[%b]" % b",".join(texts[start:end]) for start, end in _spans(counts)]
    return [to_json(predictions[start:end]) for start, end in _spans(counts)]


def _spans(counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    return pairwise(accumulate(counts, initial=0))


def _is_masked(array: Array) -> bool:
    return isinstance(array, np.ma.MaskedArray)


class _SingleUse(Exception):
    """An iterator was found that may be consumed only once, so orjson must not be given it again."""


@singledispatch
def _to_serializable(value: object) -> object:
    """Return `value`, the outermost level of it, as a type that orjson writes."""
    if value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, Iterator):
        raise _SingleUse
    if (plain := to_plain(value)) is not value:
        return plain
    name = type(value).__name__
    raise ModelError(f"The model returned a value of type {name}, which has no JSON form.", exception=name)


# orjson passes subclasses of the types that it knows as well; they are written as their base class is.
_to_serializable.register(str, str.__str__)
_to_serializable.register(int, int)
_to_serializable.register(float, float)
_to_serializable.register(list, list)
_to_serializable.register(Sequence, list)
_to_serializable.register(enum.Enum, lambda value: value.value)
_to_serializable.register(uuid.UUID, str)
_to_serializable.register(complex, lambda value: [value.real, value.imag])
_to_serializable.register(datetime.date, lambda value: value.isoformat())
_to_serializable.register(datetime.time, lambda value: value.isoformat())
_to_serializable.register(pd.Index, list)
_to_serializable.register(pd.api.extensions.ExtensionArray, list)
_to_serializable.register(type(pd.NaT), lambda _: None)


@_to_serializable.register(bytes)
@_to_serializable.register(bytearray)
@_to_serializable.register(memoryview)
def _encode_base64(value: bytes | bytearray | memoryview) -> object:
    if isinstance(value, memoryview) and value.format not in {"B", "b", "c"}:
        return value.tolist()
    return base64.b64encode(bytes(value)).decode("ascii")


@_to_serializable.register
def _decimal(value: decimal.Decimal) -> object:
    if not value.is_finite():
        return None
    return orjson.Fragment(format(value, "E" if abs(value.adjusted()) > 30 else "f"))


@_to_serializable.register(np.ndarray)
def _array(array: Array) -> object:
    """Return an array of numbers as JSON, float32 as the equal doubles; other arrays one level deep."""
    kind = array.dtype.kind
    if _is_masked(array) or kind not in "biufcmM":
        return array.tolist()
    if array.ndim == 0:
        return array[()]
    if kind in "cmM":
        return list(array)
    if kind == "f":
        array = array.astype(np.float64, copy=False)
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return orjson.Fragment(orjson.dumps(native, option=orjson.OPT_SERIALIZE_NUMPY))


@_to_serializable.register
def _scalar(value: np.generic) -> object:
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else datetime_to_iso(value)
    if isinstance(value, np.timedelta64):
        return None if np.isnat(value) else duration_to_iso(value)
    if isinstance(value, np.inexact):  # `item()` of a long double is a long double
        return complex(value) if isinstance(value, np.complexfloating) else float(value)
    return value.item()


@_to_serializable.register(pd.Series)
def _series_to_records(series: pd.Series[Any]) -> list[dict[str, object]]:
    return _frame_to_records(pd.DataFrame(series))


@_to_serializable.register
def _frame_to_records(frame: pd.DataFrame) -> list[dict[str, object]]:
    names = [key_to_text(name) for name in frame.columns]
    _reject_duplicates(names, what="columns are both named")
    if not names:
        return [{} for _ in range(len(frame))]
    columns = [_column_values(frame.iloc[:, position]) for position in range(len(names))]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _column_values(column: pd.Series[Any]) -> list[Any]:
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
        return column.to_numpy().tolist()
    return list(column)


@_to_serializable.register(datetime.timedelta)
def duration_to_iso(value: Any) -> str:
    """Return a duration as ISO 8601. Raises ModelError for years, months and what pandas cannot hold."""
    try:
        return str(pd.Timedelta(value).isoformat())
    except (ValueError, OverflowError):
        name = str(value.dtype) if isinstance(value, np.timedelta64) else type(value).__name__
        raise ModelError(
            f"The model returned a {name} that has no JSON form: it is in years or months, or too long.",
            exception=name,
        ) from None


@_to_serializable.register(Mapping)
def _stringify_keys(value: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the mapping with its keys as text. Raises ModelError if two keys have the same text."""
    names = [_replace_surrogates(key_to_text(key)) for key in value]
    _reject_duplicates(names, what="keys of an object are both")
    return dict(zip(names, value.values(), strict=True))


def _reject_duplicates(names: list[str], *, what: str) -> None:
    if len(set(names)) == len(names):
        return
    duplicate = next(name for name, count in Counter(names).items() if count > 1)
    raise ModelError(f"The model's answer has no JSON form: two {what} {shorten(duplicate)!r}.")


def _dump_scalar(value: str | int) -> str:
    try:
        return json.dumps(value)
    except ValueError:
        raise ModelError(
            "The model returned an integer of more digits than can be written.", exception="int"
        ) from None


def _to_serializable_slow(value: object) -> object:
    """Convert all levels of `value` in Python, for integers beyond 64 bits, lone surrogates and odd keys."""
    if value is None or isinstance(value, bool | orjson.Fragment):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str | int):
        return orjson.Fragment(_dump_scalar(value))
    if isinstance(value, dict):
        return {key: _to_serializable_slow(item) for key, item in _stringify_keys(value).items()}
    if isinstance(value, list | tuple):
        return [_to_serializable_slow(item) for item in value]
    return _to_serializable_slow(take_all(value) if isinstance(value, Iterator) else _to_serializable(value))


def _replace_surrogates(key: str) -> str:
    return key.encode("utf-8", "replace").decode("utf-8")
