"""Open Inference bodies, what the codec makes of them, and the tensors of its answers."""

from __future__ import annotations

import dataclasses
import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.codec.plans import SENTINEL, plan
from workers.codec import formats
from workers.errors import InvalidInput
from workers.protocol.messages import OPEN_INFERENCE, Job

if TYPE_CHECKING:
    from mlflow.types.schema import Schema

    from workers.codec.request import DecodedRequest, EncodedResponse

DTYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "u2", "UINT32": "u4", "UINT64": "u8",
    "INT8": "i1", "INT16": "i2", "INT32": "i4", "INT64": "i8", "FP16": "f2", "FP32": "f4", "FP64": "f8",
}  # fmt: skip


def tensor(
    name: str, datatype: str, data: Any, shape: list[int] | None = None, **parameters: Any
) -> dict[str, Any]:
    """One input in JSON; a flat list of values has the shape of one."""
    made = {
        "name": name,
        "datatype": datatype,
        "shape": [len(data)] if shape is None else shape,
        "data": data,
    }
    return {**made, "parameters": parameters} if parameters else made


def elements(values: list[bytes]) -> bytes:
    """BYTES in binary."""
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def binary(name: str, datatype: str, values: Any, **parameters: Any) -> tuple[dict[str, Any], bytes]:
    """One input and its bytes after the JSON."""
    array = np.asarray(values, dtype=object if datatype == "BYTES" else f"<{DTYPES[datatype]}")
    raw = elements(list(array.ravel())) if datatype == "BYTES" else array.tobytes()
    head = {"name": name, "datatype": datatype, "shape": list(array.shape)}
    return {**head, "parameters": {"binary_data_size": len(raw), **parameters}}, raw


def job(*inputs: Any, raw: bytes = b"", **top: Any) -> Job:
    """A body of these inputs, each in JSON or a pair of `binary`."""
    heads = [given[0] if isinstance(given, tuple) else given for given in inputs]
    raw += b"".join(given[1] for given in inputs if isinstance(given, tuple))
    document = json.dumps({"inputs": heads, **top}).encode()
    return Job(document + raw, OPEN_INFERENCE, OPEN_INFERENCE, len(document) if raw else None)


def read(*inputs: Any, schema: Schema | None, **top: Any) -> DecodedRequest:
    """What the codec makes of these inputs."""
    return formats.decode(job(*inputs, **top), plan(schema))


def data(*inputs: Any, schema: Schema | None, **top: Any) -> Any:
    """The model's input."""
    return read(*inputs, schema=schema, **top).data


def refused(*inputs: Any, schema: Schema | None, **top: Any) -> InvalidInput:
    """The refusal; neither its message nor its details hold the sentinel."""
    with pytest.raises(InvalidInput) as caught:
        read(*inputs, schema=schema, **top)
    assert SENTINEL not in f"{caught.value} {caught.value.details}"
    return caught.value


def answered(predictions: object, *, outputs: Schema | None = None, **top: Any) -> EncodedResponse:
    """The codec's answer to a request with these members."""
    request = formats.decode(job(tensor("x", "FP64", [1.5]), **top), plan(None))
    asked = dataclasses.replace(request.output_options, schema=outputs)
    return formats.encode(predictions, dataclasses.replace(request, output_options=asked), job())


def told(predictions: object, **options: Any) -> dict[str, Any]:
    """The JSON part of the answer."""
    answer = answered(predictions, **options)
    found: dict[str, Any] = json.loads(answer.body[: answer.json_length])
    return found
