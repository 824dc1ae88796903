"""Tensors as JSON Schema: nested lists of the signature's shape, where -1 is a dimension of any length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.api.schema.types import SCALARS, JsonSchema, nullable

_MAX_DIMENSIONS: Final = 32  # that the gateway takes
_MAX_LENGTH: Final = 2**31
_FLOAT16_MAX: Final = 65504.0
_NUMBERS: Final[Mapping[str, JsonSchema]] = {
    "bool": SCALARS["boolean"],
    "int32": SCALARS["integer"],
    "int64": SCALARS["long"],
    **{
        f"int{bits}": {"type": "integer", "minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1}
        for bits in (8, 16)
    },
    **{f"uint{bits}": {"type": "integer", "minimum": 0, "maximum": 2**bits - 1} for bits in (8, 16, 32, 64)},
    "float16": {"type": ["number", "null"], "minimum": -_FLOAT16_MAX, "maximum": _FLOAT16_MAX},
    "float32": nullable(SCALARS["float"]),
    "float64": nullable(SCALARS["double"]),
    "str": SCALARS["string"],
    "bytes": {"type": "string", "pattern": r"^[\x00-\x7f]*$"},
    "datetime64[ns]": nullable(SCALARS["datetime"]),
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a signature; `name` is empty if it has none. A shape that is none of MLflow's is None."""

    name: str
    dtype: str
    shape: tuple[int, ...] | None

    def schema(self, *, skipped: int = 0) -> JsonSchema:
        """Return the schema of the nested lists, without the first `skipped` dimensions."""
        if self.shape is None or self.dtype not in _NUMBERS:
            return {}
        schema = dict(_NUMBERS[self.dtype])
        for level, length in enumerate(reversed(self.shape[skipped:])):
            schema = _list_of(schema, length)
            if level and length == -1:  # an empty list does not tell how long its items would be
                schema["minItems"] = 1
        return schema

    def answer(self) -> JsonSchema:
        """Return the schema of the nested lists in an answer, where NaN and missing values are null."""
        schema = nullable({**_NUMBERS.get(self.dtype, {})})
        if self.shape is None or "type" not in schema:
            return {}
        schema = {"type": schema["type"]}  # an answer is not held to a range or a form
        for length in reversed(self.shape):
            schema = _list_of(schema, length)
        return schema


def parse_tensors(specs: object) -> tuple[Tensor, ...] | None:
    """Return the tensors of a part of a signature, or None if it has columns, or is no such part."""
    if not isinstance(specs, list) or not specs:
        return None
    tensors = [_parse(spec) for spec in specs]
    found = tuple(tensor for tensor in tensors if tensor is not None)
    return found if len(found) == len(specs) else None


def _parse(spec: object) -> Tensor | None:
    inner = spec.get("tensor-spec") if isinstance(spec, Mapping) and spec.get("type") == "tensor" else None
    if not isinstance(spec, Mapping) or not isinstance(inner, Mapping):
        return None
    name, dtype = spec.get("name"), inner.get("dtype")
    return Tensor(
        "" if name is None else str(name), dtype if isinstance(dtype, str) else "", _shape(inner.get("shape"))
    )


def _shape(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > _MAX_DIMENSIONS:
        return None
    lengths = tuple(length for length in value if type(length) is int and -1 <= length < _MAX_LENGTH)
    return lengths if len(lengths) == len(value) else None


def _list_of(items: JsonSchema, length: int) -> JsonSchema:
    schema: JsonSchema = {"type": "array", "items": items}
    return schema if length == -1 else {**schema, "minItems": length, "maxItems": length}
