"""Predictions as an Open Inference response: named tensors, as JSON or raw after it."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import pandas as pd
from mlflow.types.schema import Schema

from workers.codec.input_errors import MAX_DETAILS, shorten
from workers.codec.json import answer as json_answer
from workers.codec.key_text import key_to_text
from workers.codec.plain import to_plain
from workers.codec.request import DecodedRequest, EncodedResponse
from workers.codec.v2 import tensors as v2_tensors
from workers.codec.v2.body import OutputOptions
from workers.codec.v2.output_tensor import OutputTensor, to_output_tensor
from workers.errors import InvalidInput
from workers.protocol.messages import JSON, OCTETS


def encode(predictions: object, request: DecodedRequest) -> EncodedResponse:
    """Encode the outputs that the request asks for; the gateway adds the model's name and version.

    Raises InvalidInput for an output that the model does not have, and ModelError for a value without a form.
    """
    options: OutputOptions = request.output_options
    content_type, outputs = _to_outputs(predictions, options.schema)
    requested = dict.fromkeys(outputs, options.binary) if options.outputs is None else options.outputs
    if unknown := [repr(shorten(name)) for name in requested if name not in outputs]:
        known = ", ".join(repr(name) for name in list(outputs)[:MAX_DETAILS])
        raise InvalidInput(
            f"The model has no output {', '.join(unknown[:MAX_DETAILS])}; it has {known or 'none'}."
        )
    raw_parts: list[bytes] = []
    encoded = [
        _encode_output(name, outputs[name], raw_parts, binary=binary) for name, binary in requested.items()
    ]
    head: dict[str, object] = {} if options.id is None else {"id": options.id}
    parameters = {"content_type": content_type}
    document = json_answer.to_json({**head, "parameters": parameters, "outputs": encoded})
    if not raw_parts:
        return EncodedResponse(document, content_type=JSON)
    return EncodedResponse(b"".join((document, *raw_parts)), content_type=OCTETS, json_length=len(document))


def _output_names(schema: Schema | None) -> list[str]:
    """Return the signature's names of the outputs; one without a name is `output-` and its position."""
    specs = schema.inputs if schema is not None else ()
    return [f"output-{at}" if spec.name is None else str(spec.name) for at, spec in enumerate(specs)]


def _to_outputs(predictions: object, schema: Schema | None) -> tuple[str, dict[str, OutputTensor]]:
    """Return the tensors by name, and MLServer's content type for all of them together."""
    names = _output_names(schema)
    if type(predictions) is not np.ndarray:
        predictions = to_plain(predictions)
    if isinstance(predictions, pd.DataFrame):
        return "pd", _columns_to_outputs(predictions, schema, names)
    if isinstance(predictions, Mapping) and all(isinstance(name, str) for name in predictions):
        return "dict", {key_to_text(name): to_output_tensor(value) for name, value in predictions.items()}
    if len(names) > 1 and isinstance(predictions, np.ndarray) and predictions.shape[1:] == (len(names),):
        columns = zip(names, predictions.T, strict=True)
        return "pd", {name: to_output_tensor(column) for name, column in columns}
    tensor = to_output_tensor(predictions)
    name = names[0] if len(names) == 1 else "output-0"
    if isinstance(predictions, pd.Series):
        return "pd", {name: tensor}
    is_texts = tensor.content_type == "str" and not isinstance(predictions, np.ndarray)
    return "str" if is_texts else "np", {name: tensor}


def _columns_to_outputs(
    frame: pd.DataFrame, schema: Schema | None, names: list[str]
) -> dict[str, OutputTensor]:
    """Return one tensor per column, numbered if the columns have no names or duplicate ones."""
    own_names = [key_to_text(name) for name in frame.columns]
    nameless = schema is not None and not schema.has_input_names() and len(names) == len(own_names)
    if nameless or max(Counter(own_names).values(), default=1) > 1:
        own_names = [f"output-{at}" for at in range(len(own_names))]
    return {name: to_output_tensor(frame.iloc[:, at]) for at, name in enumerate(own_names)}


def _encode_output(
    name: str, tensor: OutputTensor, raw_parts: list[bytes], *, binary: bool
) -> dict[str, Any]:
    """Return one output as JSON; if it is sent in binary, its bytes are appended to `raw_parts`."""
    output: dict[str, Any] = {"name": name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    raw = v2_tensors.to_binary(tensor.values) if binary else None
    if raw is not None:
        raw_parts.append(raw)
        # Sent raw, bytes are not base64.
        content_type = tensor.content_type if tensor.content_type != "base64" else None
        return {**output, "parameters": _parameters(content_type) | {"binary_data_size": len(raw)}}
    if tensor.content_type is not None:
        output["parameters"] = _parameters(tensor.content_type)
    return {**output, "data": orjson.Fragment(_encode_values(tensor))}


def _parameters(content_type: str | None) -> dict[str, Any]:
    return {} if content_type is None else {"content_type": content_type}


def _encode_values(tensor: OutputTensor) -> bytes:
    """Return the flat values as a JSON list; NaN and infinities are null, float32 the equal doubles."""
    if tensor.content_type == "base64":
        texts = [None if value is None else base64.b64encode(value).decode() for value in tensor.values]
        return json_answer.to_json(texts)
    return json_answer.to_json(tensor.values)
