"""Open Inference tensors as they travel: JSON values or raw little-endian bytes, each value checked."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from workers.codec.input_errors import invalid_input, shorten
from workers.codec.inputs.arrays import to_json_values
from workers.codec.inputs.scalars import BOOLEAN, ScalarConverter, float_converter, integer_converter
from workers.codec.inputs.tensors import flatten
from workers.errors import InvalidInput
from workers.protocol.messages import InputProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = np.ndarray[Any, Any]
Values = Array | list[str | None] | list[bytes]

BYTES = "BYTES"
DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
}
_MAX_DIMENSIONS = 32  # numpy's arrays have at most 64 dimensions
_MAX_EMPTY_ROWS = 65_536  # the product of the other dimensions of a tensor that has a 0 among them
_LENGTH_PREFIX = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input: `values` are flat, an ndarray of the datatype, or for BYTES texts or (binary) bytes."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Values
    content_type: str | None = None
    unit: str | None = None

    @property
    def num_rows(self) -> int:
        """Its first dimension."""
        return self.shape[0] if self.shape else 1

    @property
    def array(self) -> Array:
        """The values as an ndarray of its shape; of objects for BYTES."""
        if isinstance(self.values, np.ndarray):
            return self.values.reshape(self.shape)
        made = np.empty(len(self.values), dtype=object)
        made[:] = self.values
        return made.reshape(self.shape)

    def with_values(self, values: list[str | None]) -> Tensor:
        """The same with other values."""
        return Tensor(self.name, BYTES, self.shape, values, self.content_type)

    def listed(self) -> Sequence[object]:
        """The flat values as JSON has them."""
        return to_json_values(self.values) if isinstance(self.values, np.ndarray) else self.values

    def invalid_values(self, bad: list[tuple[int, str]]) -> InvalidInput:
        """The refusal of these positions of `values`."""
        step = prod(self.shape[1:]) or 1
        what = f"The data of {shorten(self.name)!r} do not fit {self.datatype}"
        return invalid_input(
            [InputProblem(position // step, shorten(self.name), why) for position, why in bad], what=what
        )


def parse_shape(value: object, name: str) -> tuple[int, ...]:
    """A tensor's shape. Raises InputRefused for what no body of any size could hold."""
    if not isinstance(value, list) or len(value) > _MAX_DIMENSIONS or not {int}.issuperset(map(type, value)):
        raise InvalidInput(f"{name!r} must have a shape: a list of at most {_MAX_DIMENSIONS} whole numbers.")
    if min(value, default=1) < 0:
        raise InvalidInput(f"{name!r} has a negative number in its shape.")
    if 0 in value and prod(size for size in value if size) > _MAX_EMPTY_ROWS:
        raise InvalidInput(
            f"{name!r} holds no values, and yet has a shape of more than {_MAX_EMPTY_ROWS} rows."
        )
    return tuple(value)


def from_json(data: object, datatype: str, shape: tuple[int, ...], *, name: str) -> Tensor:
    """A tensor of flat or nested JSON values. Raises InputRefused."""
    if not isinstance(data, list):
        raise InvalidInput(f"The data of {name!r} must be a list.")
    found, flat = flatten(data, what=f"The data of {name!r}")
    _check_count(
        name, shape, found=len(flat), fits=found == shape or (len(found) == 1 and len(flat) == prod(shape))
    )
    if datatype == BYTES:
        texts: list[str | None] = flat  # type: ignore[assignment] # looked at in the next line
        bad = [(at, "not a string") for at, value in enumerate(flat) if not isinstance(value, str | None)]
        tensor = Tensor(name, datatype, shape, texts)
    else:
        values, bad = _CONVERTERS[datatype].convert(flat)
        tensor = Tensor(name, datatype, shape, values)
    if bad:
        raise tensor.invalid_values(bad)
    return tensor


def from_binary(raw: memoryview, datatype: str, shape: tuple[int, ...], *, name: str) -> Tensor:
    """A tensor of raw bytes in the extension's form. Raises InputRefused."""
    if datatype == BYTES:
        elements = _split_elements(raw, name)
        _check_count(name, shape, found=len(elements), fits=len(elements) == prod(shape))
        return Tensor(name, datatype, shape, elements)
    dtype = DTYPES[datatype]
    if len(raw) != prod(shape) * dtype.itemsize:
        raise InvalidInput(
            f"{name!r} has {len(raw)} bytes, where its shape and {datatype} take {_byte_count_text(shape, dtype)}."
        )
    if datatype == "BOOL" and (np.frombuffer(raw, dtype=np.uint8) > 1).any():
        raise InvalidInput(f"{name!r} has bytes that are neither 0 nor 1, where BOOL is wanted.")
    # copied: models may write into their input, and the body's bytes need not be aligned
    return Tensor(name, datatype, shape, np.frombuffer(raw, dtype=dtype.newbyteorder("<")).astype(dtype))


def to_binary(values: Array | list[Any]) -> bytes | None:
    """Values in the extension's form; None where they have none: null, or text that is not UTF-8."""
    if isinstance(values, np.ndarray):
        return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
    parts: list[bytes] = []
    for value in values:
        try:
            element = value.encode() if isinstance(value, str) else value
        except UnicodeEncodeError:
            return None
        if element is None:
            return None
        parts += (_LENGTH_PREFIX.pack(len(element)), element)
    return b"".join(parts)


def _split_elements(raw: memoryview, name: str) -> list[bytes]:
    """BYTES elements, each after its length in 4 bytes."""
    elements, at = [], 0
    while at < len(raw):
        begin = at + _LENGTH_PREFIX.size
        end = begin + _LENGTH_PREFIX.unpack_from(raw, at)[0] if begin <= len(raw) else begin
        if end > len(raw):
            raise InvalidInput(f"{name!r} ends within an element: its lengths do not add up to its size.")
        elements.append(bytes(raw[begin:end]))
        at = end
    return elements


def _check_count(name: str, shape: tuple[int, ...], *, found: int, fits: bool) -> None:
    if not fits:
        raise InvalidInput(
            f"{name!r} has {found} values, flat or nested, which is not what its shape {_shape_text(shape)} says."
        )


def _byte_count_text(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    size = prod(shape) * dtype.itemsize
    return str(size) if size < 2**63 else "more than any body has"


def _shape_text(shape: tuple[int, ...]) -> str:
    return str(list(shape)) if prod(shape) < 2**63 else "of more values than any body has"


_CONVERTERS: dict[str, ScalarConverter] = {
    name: BOOLEAN
    if dtype.kind == "b"
    else (float_converter if dtype.kind == "f" else integer_converter)(dtype, name)
    for name, dtype in DTYPES.items()
}
