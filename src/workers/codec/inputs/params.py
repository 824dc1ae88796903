"""The inference parameters of a request, checked against the model's signature."""

from __future__ import annotations

from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.types.schema import DataType, ParamSpec

from workers.codec.input_errors import MAX_PROBLEMS, invalid_input, shorten
from workers.codec.inputs.nested import ValueMismatch, convert_nested
from workers.codec.inputs.scalars import CONVERTERS
from workers.codec.signature import InputSpec
from workers.errors import InvalidInput
from workers.protocol.messages import InputProblem

_NOT_NULLABLE = frozenset({DataType.integer, DataType.long, DataType.boolean})


def param_names(spec: InputSpec) -> frozenset[str]:
    """Return the names of the signature's params."""
    return frozenset(param.name for param in spec.params.params) if spec.params is not None else frozenset()


def validate_params(params: object, spec: InputSpec) -> dict[str, Any] | None:
    """Return the params as MLflow takes them, unchanged in value. Raises InvalidInput."""
    if params is None or params == {}:
        return None
    if not isinstance(params, dict):
        raise InvalidInput("params must be an object.")
    known = {param.name: param for param in spec.params.params} if spec.params is not None else {}
    problems: list[InputProblem] = []
    valid: dict[str, Any] = {}
    for name, value in params.items():
        try:
            valid[name] = _validate_param(value, known.get(name))
        except ValueMismatch as mismatch:
            problems.append(InputProblem(None, shorten(name), str(mismatch)))
            if len(problems) > MAX_PROBLEMS:
                break
    if problems:
        raise invalid_input(problems, what="The params do not fit the model's signature")
    return valid


def _validate_param(value: object, spec: ParamSpec | None) -> object:
    if spec is None:
        raise ValueMismatch("not a parameter of the signature", "")
    if value is None and spec.default is None:
        return None
    if spec.shape is None:
        converted = _convert_exactly(value, spec, path="")
    elif isinstance(value, list):
        converted = [_convert_exactly(item, spec, path=f"[{number}]") for number, item in enumerate(value)]
    else:
        raise ValueMismatch("not a list", "")
    try:
        ParamSpec.validate_param_spec(converted, spec)
    except (MlflowException, ValueError, TypeError, OverflowError) as error:
        raise ValueMismatch(
            "does not fit the type or shape of this parameter in the signature", ""
        ) from error
    return converted


def _convert_exactly(value: object, spec: ParamSpec, *, path: str) -> object:
    """Return a Python value, as MLflow gives models; only a 32 bit float is numpy's, as MLflow demands."""
    if not isinstance(spec.dtype, DataType):
        convert_nested(value, spec.dtype, path=path)
        return value
    if value is None and spec.dtype not in _NOT_NULLABLE:
        return None
    converted, errors = CONVERTERS[spec.dtype].convert([value])
    if errors:
        raise ValueMismatch(errors[0][1], path)
    if spec.dtype == DataType.datetime:
        return _to_naive_datetime(str(value), converted[0])
    if isinstance(converted, np.ndarray):
        return converted[0] if spec.dtype == DataType.float else converted[0].item()
    return converted[0]


def _to_naive_datetime(text: str, parsed: Any) -> str:
    """Return the text as it came, so that a date stays a date; a time with a zone is converted to UTC.

    MLflow parses the text again, and takes upper case only.
    """
    text = text.upper()
    has_zone = text.endswith("Z") or "+" in text or "-" in text[10:]
    return str(parsed.isoformat()) if has_zone else text
