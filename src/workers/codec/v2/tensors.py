"""Open Inference tensors as they are sent: JSON values or raw little-endian bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from workers.codec.input_errors import first_problems, invalid_input, shorten
from workers.codec.inputs.scalars import (
    BOOLEAN,
    CellErrors,
    ScalarConverter,
    float_converter,
    integer_converter,
)
from workers.codec.inputs.tensors import MAX_DIMENSIONS, flatten
from workers.errors import InvalidInput
from workers.protocol.messages import InputProblem

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
_MAX_EMPTY_ROWS = 65_536  # the product of the other dimensions of a tensor with a dimension of 0
_LENGTH_PREFIX = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input tensor.

    `values` are flat: an ndarray of the datatype, or for BYTES strings (sent as JSON) or bytes (sent raw).
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Values
    content_type: str | None = None
    unit: str | None = None

    @property
    def num_rows(self) -> int:
        """The first dimension."""
        return self.shape[0] if self.shape else 1

    @property
    def array(self) -> Array:
        """The values as an ndarray of the tensor's shape; of objects for BYTES."""
        if isinstance(self.values, np.ndarray):
            return self.values.reshape(self.shape)
        return object_array(self.values).reshape(self.shape)

    def invalid_values(self, errors: CellErrors) -> InvalidInput:
        """Return the error for values that do not fit, by their positions in `values`."""
        step = prod(self.shape[1:]) or 1
        name = shorten(self.name)
        problems = [InputProblem(position // step, name, reason) for position, reason in errors]
        return invalid_input(problems, what=f"The data of {name!r} do not fit {self.datatype}")


def object_array(values: list[Any]) -> Array:
    """Return a flat array of objects, which numpy does not take apart."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def parse_shape(value: object, name: str) -> tuple[int, ...]:
    """Return a tensor's shape. Raises InvalidInput if it is no shape, or one that no body could fill."""
    if not isinstance(value, list) or len(value) > MAX_DIMENSIONS or not {int}.issuperset(map(type, value)):
        raise InvalidInput(f"{name!r} must have a shape: a list of at most {MAX_DIMENSIONS} whole numbers.")
    if min(value, default=1) < 0:
        raise InvalidInput(f"{name!r} has a negative number in its shape.")
    if 0 in value and prod(size for size in value if size) > _MAX_EMPTY_ROWS:
        raise InvalidInput(
            f"{name!r} holds no values, and yet has a shape of more than {_MAX_EMPTY_ROWS} rows."
        )
    return tuple(value)


def from_json(data: object, datatype: str, shape: tuple[int, ...], *, name: str) -> Tensor:
    """Return the tensor of flat or nested JSON values. Raises InvalidInput."""
    if not isinstance(data, list):
        raise InvalidInput(f"The data of {name!r} must be a list.")
    nested_shape, flat = flatten(data, what=f"The data of {name!r}")
    if nested_shape != shape and (len(nested_shape) != 1 or len(flat) != prod(shape)):
        raise _wrong_count(name, shape, actual=len(flat))
    if datatype == BYTES:
        texts: list[str | None] = flat  # type: ignore[assignment] # checked in the next line
        errors = first_problems(
            (at, "not a string") for at, value in enumerate(flat) if not isinstance(value, str | None)
        )
        tensor = Tensor(name, datatype, shape, texts)
    else:
        values, errors = _CONVERTERS[datatype].convert(flat)
        tensor = Tensor(name, datatype, shape, values)
    if errors:
        raise tensor.invalid_values(errors)
    return tensor


def from_binary(raw: memoryview, datatype: str, shape: tuple[int, ...], *, name: str) -> Tensor:
    """Return the tensor of raw bytes, in the form of the binary extension. Raises InvalidInput."""
    if datatype == BYTES:
        elements = _split_elements(raw, name)
        if len(elements) != prod(shape):
            raise _wrong_count(name, shape, actual=len(elements))
        return Tensor(name, datatype, shape, elements)
    dtype = DTYPES[datatype]
    size = prod(shape) * dtype.itemsize
    if len(raw) != size:
        expected = str(size) if size < 2**63 else "more than any body has"
        raise InvalidInput(f"{name!r} has {len(raw)} bytes; its shape and {datatype} take {expected}.")
    if datatype == "BOOL" and (np.frombuffer(raw, dtype=np.uint8) > 1).any():
        raise InvalidInput(f"{name!r} has bytes other than 0 and 1, which are no BOOL.")
    # Copied: a model may write to its input, and the bytes in the body may be unaligned.
    return Tensor(name, datatype, shape, np.frombuffer(raw, dtype=dtype.newbyteorder("<")).astype(dtype))


def to_binary(values: Array | list[Any]) -> bytes | None:
    """Return values in the form of the binary extension; None for a null, or text that is not UTF-8."""
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
    """Return the elements of a BYTES tensor; each follows its length in 4 bytes."""
    elements, position = [], 0
    while position < len(raw):
        start = position + _LENGTH_PREFIX.size
        end = start + _LENGTH_PREFIX.unpack_from(raw, position)[0] if start <= len(raw) else start
        if end > len(raw):
            raise InvalidInput(f"{name!r} ends within an element: its lengths do not add up to its size.")
        elements.append(bytes(raw[start:end]))
        position = end
    return elements


def _wrong_count(name: str, shape: tuple[int, ...], *, actual: int) -> InvalidInput:
    described = str(list(shape)) if prod(shape) < 2**63 else "of more values than any body has"
    return InvalidInput(
        f"{name!r} has {actual} values, flat or nested, which is not what its shape {described} says."
    )


_CONVERTERS: dict[str, ScalarConverter] = {
    name: BOOLEAN
    if dtype.kind == "b"
    else (float_converter if dtype.kind == "f" else integer_converter)(dtype, name)
    for name, dtype in DTYPES.items()
}
