"""Open Inference request bodies: JSON, and after it the bytes of the tensors that are sent raw."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from mlflow.types.schema import Schema

from workers.codec.input_errors import MAX_DETAILS, shorten
from workers.codec.inputs.arrays import NANOSECONDS_PER_UNIT
from workers.codec.inputs.params import param_names, validate_params
from workers.codec.json import text as json_text
from workers.codec.json.structure import check_structure
from workers.codec.request import DecodedRequest
from workers.codec.signature import InputSpec
from workers.codec.v2 import columns as v2_columns
from workers.codec.v2 import inputs as v2_inputs
from workers.codec.v2 import tensors as v2_tensors
from workers.errors import InvalidInput
from workers.protocol.messages import Job

_EXPECTED_BODY = 'The body must be a JSON object with "inputs": a list of tensors.'
_BODY_KEYS = ("id", "model_name", "model_version", "parameters", "inputs", "outputs")
_INPUT_KEYS = ("name", "shape", "datatype", "parameters", "data")
_OUTPUT_KEYS = ("name", "parameters")
# Clients of the protocol add these on their own; they are the model's only if its signature has them.
_PROTOCOL_PARAMETERS = frozenset({"binary_data_output", "content_type", "headers", "priority", "timeout"})


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """A request's options for its response.

    `outputs` says for each requested output, in order, whether it is sent in binary. If it is None, all
    outputs are sent, as `binary` says. `schema` is that of the model's outputs.
    """

    id: str | None
    outputs: dict[str, bool] | None
    binary: bool
    schema: Schema | None


def decode(job: Job, spec: InputSpec) -> DecodedRequest:
    """Decode an Open Inference body. Raises InvalidInput."""
    json_length = len(job.body) if job.json_length is None else job.json_length
    if json_length > len(job.body):
        raise InvalidInput("Inference-Header-Content-Length is more than the body has.")
    text = job.body[:json_length] if json_length < len(job.body) else job.body
    check_structure(text, in_strings=True)  # elements of BYTES may be JSON
    document = json_text.parse_json(text)
    if (
        not isinstance(document, dict)
        or not isinstance(document.get("inputs"), list)
        or not document["inputs"]
    ):
        raise InvalidInput(_EXPECTED_BODY)
    _reject_unknown_keys(document, _BODY_KEYS, what="The body")
    parameters = _require_object(document.get("parameters"), what="parameters")
    tensors = _decode_tensors(document["inputs"], memoryview(job.body)[json_length:])
    content_type = _get_content_type(parameters, v2_inputs.CONTENT_TYPES, what="the request")
    return DecodedRequest(
        v2_inputs.to_model_input(tensors, content_type, spec),
        _model_params(parameters, spec),
        wrapped=False,
        output_options=_output_options(document, parameters, spec),
    )


def _decode_tensors(inputs: list[object], raw: memoryview) -> tuple[v2_tensors.Tensor, ...]:
    """Return all inputs; together the binary ones must take all bytes after the JSON."""
    tensors: dict[str, v2_tensors.Tensor] = {}
    for number, fields in enumerate(inputs):
        if not isinstance(fields, dict) or not isinstance(fields.get("name"), str):
            raise InvalidInput(f"inputs[{number}] must be an object with a name.")
        tensor, size = _decode_tensor(fields, raw)
        if tensor.name in tensors:
            raise InvalidInput(f"The input {shorten(tensor.name)!r} occurs twice.")
        tensors[tensor.name] = tensor
        raw = raw[size:]
    if len(raw):
        raise InvalidInput(f"{len(raw)} bytes after the JSON belong to no input.")
    return tuple(tensors.values())


def _decode_tensor(fields: Mapping[str, Any], raw: memoryview) -> tuple[v2_tensors.Tensor, int]:
    """Return one input, and how many bytes of `raw` belong to it."""
    name, datatype = shorten(fields["name"]), fields.get("datatype")
    _reject_unknown_keys(fields, _INPUT_KEYS, what=f"The input {name!r}")
    if datatype != v2_tensors.BYTES and (not isinstance(datatype, str) or datatype not in v2_tensors.DTYPES):
        raise InvalidInput(
            f"{name!r} must have a datatype: {', '.join(v2_tensors.DTYPES)} or {v2_tensors.BYTES}."
        )
    shape = v2_tensors.parse_shape(fields.get("shape"), name)
    parameters = _require_object(fields.get("parameters"), what=f"The parameters of {name!r}")
    size, data = _binary_size(parameters, name), fields.get("data")
    if (size is None) == (data is None):
        raise InvalidInput(
            f"{name!r} must have either data or, for binary data, parameters.binary_data_size."
        )
    if size is None:
        tensor = v2_tensors.from_json(data, datatype, shape, name=name)
    elif size > len(raw):
        raise InvalidInput(f"{name!r} declares more binary data than the body has after its JSON.")
    else:
        tensor = v2_tensors.from_binary(raw[:size], datatype, shape, name=name)
    content_type = _get_content_type(parameters, v2_columns.CONTENT_TYPES, what=f"the input {name!r}")
    unit = parameters.get("unit")
    if unit is not None and (not isinstance(unit, str) or unit not in NANOSECONDS_PER_UNIT):
        raise InvalidInput(f"{name!r}: parameters.unit must be one of {', '.join(NANOSECONDS_PER_UNIT)}.")
    return replace(tensor, name=fields["name"], content_type=content_type, unit=unit), size or 0


def _binary_size(parameters: Mapping[str, Any], name: str) -> int | None:
    if any(str(key).startswith("shared_memory") for key in parameters):
        raise InvalidInput(f"{name!r}: tensors are not read from or written to shared memory here.")
    size = parameters.get("binary_data_size")
    if size is not None and (type(size) is not int or size < 0):
        raise InvalidInput(f"{name!r}: binary_data_size must be a whole number of bytes.")
    return size


def _model_params(parameters: Mapping[str, Any], spec: InputSpec) -> dict[str, Any] | None:
    """Return the parameters of the request that are the model's."""
    names = param_names(spec)
    params = {
        name: value for name, value in parameters.items() if name in names or not _is_protocol_parameter(name)
    }
    return (params or None) if spec.input_checks == "mlflow" else validate_params(params, spec)


def _is_protocol_parameter(name: str) -> bool:
    return name in _PROTOCOL_PARAMETERS or name.startswith("triton_")


def _output_options(
    document: Mapping[str, Any], parameters: Mapping[str, Any], spec: InputSpec
) -> OutputOptions:
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidInput("id must be a string.")
    binary = _get_flag(parameters, "binary_data_output", default=False)
    outputs = document.get("outputs")
    requested = None if outputs is None or outputs == [] else _requested_outputs(outputs, binary=binary)
    return OutputOptions(request_id, requested, binary, spec.metadata.get_output_schema())


def _requested_outputs(outputs: object, *, binary: bool) -> dict[str, bool]:
    if not isinstance(outputs, list):
        raise InvalidInput("outputs must be a list of objects, each with a name.")
    requested: dict[str, bool] = {}
    for number, output in enumerate(outputs):
        if not isinstance(output, dict) or not isinstance(output.get("name"), str):
            raise InvalidInput(f"outputs[{number}] must be an object with a name.")
        name = shorten(output["name"])
        _reject_unknown_keys(output, _OUTPUT_KEYS, what=f"The output {name!r}")
        parameters = _require_object(output.get("parameters"), what=f"The parameters of {name!r}")
        _binary_size(parameters, name)
        if "classification" in parameters:
            raise InvalidInput(f"{name!r}: the classification of outputs is not offered here.")
        if output["name"] in requested:
            raise InvalidInput(f"The output {name!r} is requested twice.")
        requested[output["name"]] = _get_flag(parameters, "binary_data", default=binary)
    return requested


def _require_object(value: object, *, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput(f"{what} must be an object.")
    return value


def _reject_unknown_keys(fields: Mapping[str, Any], known: Collection[str], *, what: str) -> None:
    unknown = [repr(shorten(name)) for name in islice((n for n in fields if n not in known), MAX_DETAILS)]
    if unknown:
        raise InvalidInput(f"{what} has {', '.join(unknown)}; it can have {', '.join(known)}.")


def _get_content_type(parameters: Mapping[str, Any], choices: Collection[str], *, what: str) -> str | None:
    value = parameters.get("content_type")
    if value is not None and (not isinstance(value, str) or value not in choices):
        raise InvalidInput(f"The content_type of {what} can be {', '.join(choices)}.")
    return value


def _get_flag(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidInput(f"{name} must be true or false.")
    return value
