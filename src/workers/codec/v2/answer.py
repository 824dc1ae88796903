"""Predictions as an Open Inference answer: named tensors, in JSON or in binary after it."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pandas as pd

from workers.codec.input_errors import MAX_DETAILS, shorten
from workers.codec.json import answer as json_answer
from workers.codec.request import EncodedResponse
from workers.codec.v2 import cells as v2_cells
from workers.codec.v2 import tensors as v2_tensors
from workers.errors import InvalidInput
from workers.protocol.messages import JSON, OCTETS

if TYPE_CHECKING:
    from mlflow.types.schema import Schema

    from workers.codec.request import DecodedRequest
    from workers.codec.v2.body import OutputOptions
    from workers.codec.v2.cells import OutputTensor


def encode(predictions: object, request: DecodedRequest) -> EncodedResponse:
    """The outputs that the request asks for, in its order; the gateway adds the model's name and version.

    Raises InputRefused for an output that the model does not have, ModelFailed for a value without a form.
    """
    asked: OutputOptions = request.output_options
    content_type, outputs = _to_outputs(predictions, asked.schema)
    wanted = dict.fromkeys(outputs, asked.binary) if asked.outputs is None else asked.outputs
    if unknown := [repr(shorten(name)) for name in wanted if name not in outputs]:
        has = ", ".join(repr(name) for name in list(outputs)[:MAX_DETAILS])
        raise InvalidInput(
            f"The model has no output {', '.join(unknown[:MAX_DETAILS])}; it has {has or 'none'}."
        )
    parts: list[bytes] = []
    told = [_encode_output(name, outputs[name], parts, binary=binary) for name, binary in wanted.items()]
    head: dict[str, object] = {} if asked.id is None else {"id": asked.id}
    document = json_answer.to_json({**head, "parameters": {"content_type": content_type}, "outputs": told})
    if not parts:
        return EncodedResponse(document, content_type=JSON)
    return EncodedResponse(b"".join((document, *parts)), content_type=OCTETS, json_length=len(document))


def _output_names(schema: Schema | None) -> list[str]:
    """What the signature calls the outputs; those without a name are `output-0`, …"""
    specs = schema.inputs if schema is not None else ()
    return [f"output-{at}" if spec.name is None else str(spec.name) for at, spec in enumerate(specs)]


def _to_outputs(predictions: object, schema: Schema | None) -> tuple[str, dict[str, OutputTensor]]:
    """The tensors by name, and what MLServer calls their form together."""
    known = _output_names(schema)
    if isinstance(predictions, pd.DataFrame):
        return "pd", _columns_to_outputs(predictions, schema, known)
    if isinstance(predictions, Mapping) and all(isinstance(name, str) for name in predictions):
        return "dict", {str(name): v2_cells.to_output_tensor(value) for name, value in predictions.items()}
    if len(known) > 1 and isinstance(predictions, np.ndarray) and predictions.shape[1:] == (len(known),):
        return "pd", {
            name: v2_cells.to_output_tensor(column) for name, column in zip(known, predictions.T, strict=True)
        }
    cells = v2_cells.to_output_tensor(predictions)
    name = known[0] if len(known) == 1 else "output-0"
    if isinstance(predictions, pd.Series):
        return "pd", {name: cells}
    is_texts = cells.content_type == "str" and not isinstance(predictions, np.ndarray)
    return "str" if is_texts else "np", {name: cells}


def _columns_to_outputs(
    frame: pd.DataFrame, schema: Schema | None, known: list[str]
) -> dict[str, OutputTensor]:
    """One tensor per column, of its own name unless it has none, or another column has it too."""
    own = [str(name) for name in frame.columns]
    nameless = schema is not None and not schema.has_input_names() and len(known) == len(own)
    if nameless or max(Counter(own).values(), default=1) > 1:
        own = [f"output-{at}" for at in range(len(own))]
    return {name: v2_cells.to_output_tensor(frame.iloc[:, at]) for at, name in enumerate(own)}


def _encode_output(name: str, cells: OutputTensor, parts: list[bytes], *, binary: bool) -> dict[str, Any]:
    """One output as JSON; its bytes are added to `parts` where it is sent in binary."""
    told: dict[str, Any] = {"name": name, "datatype": cells.datatype, "shape": list(cells.shape)}
    raw = v2_tensors.to_binary(cells.values) if binary else None
    if raw is not None:
        parts.append(raw)
        text = cells.content_type if cells.content_type != "base64" else None  # they are the bytes themselves
        return {**told, "parameters": _parameters(text) | {"binary_data_size": len(raw)}}
    if cells.content_type is not None:
        told["parameters"] = _parameters(cells.content_type)
    return {**told, "data": orjson.Fragment(_encode_values(cells))}


def _parameters(content_type: str | None) -> dict[str, Any]:
    return {} if content_type is None else {"content_type": content_type}


def _encode_values(cells: OutputTensor) -> bytes:
    """The flat values as a JSON list; NaN and infinities are null, float32 the doubles that they are."""
    if isinstance(cells.values, np.ndarray):
        return json_answer.to_json(cells.values)
    if cells.content_type == "base64":
        return json_answer.to_json(
            [None if value is None else base64.b64encode(value).decode() for value in cells.values]
        )
    return json_answer.to_json(cells.values)
