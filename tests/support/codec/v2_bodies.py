"""Open Inference bodies, the model input that the codec makes of them, and the tensors of its responses."""

from __future__ import annotations

import dataclasses
import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.codec.specs import SENTINEL, input_spec
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
    """Return one input in JSON; the default shape is that of a flat list."""
    fields = {
        "name": name,
        "datatype": datatype,
        "shape": [len(data)] if shape is None else shape,
        "data": data,
    }
    return {**fields, "parameters": parameters} if parameters else fields


def binary_elements(values: list[bytes]) -> bytes:
    """Return BYTES in the form of the binary extension."""
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def binary_tensor(name: str, datatype: str, values: Any, **parameters: Any) -> tuple[dict[str, Any], bytes]:
    """Return one input in JSON and its bytes after the JSON."""
    array = np.asarray(values, dtype=object if datatype == "BYTES" else f"<{DTYPES[datatype]}")
    raw = binary_elements(list(array.ravel())) if datatype == "BYTES" else array.tobytes()
    head = {"name": name, "datatype": datatype, "shape": list(array.shape)}
    return {**head, "parameters": {"binary_data_size": len(raw), **parameters}}, raw


def make_job(*inputs: Any, raw: bytes = b"", **top: Any) -> Job:
    """Return a job of these inputs, each in JSON or a pair from `binary_tensor`."""
    heads = [each[0] if isinstance(each, tuple) else each for each in inputs]
    raw += b"".join(each[1] for each in inputs if isinstance(each, tuple))
    document = json.dumps({"inputs": heads, **top}).encode()
    return Job(document + raw, OPEN_INFERENCE, OPEN_INFERENCE, len(document) if raw else None)


def decode(*inputs: Any, schema: Schema | None, **top: Any) -> DecodedRequest:
    """Decode these inputs for a model with this signature."""
    return formats.decode(make_job(*inputs, **top), input_spec(schema))


def model_input(*inputs: Any, schema: Schema | None, **top: Any) -> Any:
    """Return the model's input of these inputs."""
    return decode(*inputs, schema=schema, **top).data


def decode_error(*inputs: Any, schema: Schema | None, **top: Any) -> InvalidInput:
    """Return the error that decoding raises, after a check that it does not repeat the sentinel."""
    with pytest.raises(InvalidInput) as caught:
        decode(*inputs, schema=schema, **top)
    assert SENTINEL not in f"{caught.value} {caught.value.details}"
    return caught.value


def encode_response(predictions: object, *, outputs: Schema | None = None, **top: Any) -> EncodedResponse:
    """Return the response to a request with these members in its body."""
    request = formats.decode(make_job(tensor("x", "FP64", [1.5]), **top), input_spec(None))
    options = dataclasses.replace(request.output_options, schema=outputs)
    return formats.encode(predictions, dataclasses.replace(request, output_options=options), make_job())


def encoded_json(predictions: object, **options: Any) -> dict[str, Any]:
    """Return the JSON part of the response."""
    response = encode_response(predictions, **options)
    document: dict[str, Any] = json.loads(response.body[: response.json_length])
    return document
