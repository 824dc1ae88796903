"""The inference parameters of a request, held against the signature's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.types.schema import DataType, ParamSpec

from workers.codec.input_errors import invalid_input, shorten
from workers.codec.inputs.nested import ValueMismatch, convert_nested
from workers.codec.inputs.scalars import CONVERTERS
from workers.errors import InvalidInput
from workers.protocol.messages import InputProblem

if TYPE_CHECKING:
    from workers.codec.signature import InputSpec

_NOT_NULLABLE = frozenset({DataType.integer, DataType.long, DataType.boolean})


def validate_params(params: object, input_spec: InputSpec) -> dict[str, Any] | None:
    """The params as MLflow takes them, none unknown or changed in value. Raises InputRefused."""
    if params is None or params == {}:
        return None
    if not isinstance(params, dict):
        raise InvalidInput("params must be an object.")
    specs = {spec.name: spec for spec in input_spec.params.params} if input_spec.params is not None else {}
    problems: list[InputProblem] = []
    taken: dict[str, Any] = {}
    for name, value in params.items():
        try:
            taken[name] = _validate_param(value, specs.get(name))
        except ValueMismatch as misfit:
            problems.append(InputProblem(None, shorten(name), str(misfit)))
    if problems:
        raise invalid_input(problems, what="The params do not fit the model's signature")
    return taken


def _validate_param(value: object, spec: ParamSpec | None) -> object:
    if spec is None:
        raise ValueMismatch("not a parameter of the signature", "")
    if value is None and spec.default is None:
        return None
    if spec.shape is not None:
        if not isinstance(value, list):
            raise ValueMismatch("not a list", "")
        taken: object = [_convert_exactly(item, spec, at=f"[{number}]") for number, item in enumerate(value)]
    else:
        taken = _convert_exactly(value, spec, at="")
    try:
        ParamSpec.validate_param_spec(taken, spec)
    except (MlflowException, ValueError, TypeError, OverflowError) as error:
        raise ValueMismatch(
            "does not fit the type or shape that the signature gives this parameter", ""
        ) from error
    return taken


def _convert_exactly(value: object, spec: ParamSpec, *, at: str) -> object:
    """A Python value, as MLflow gives models; a 32 bit float as numpy's, since it takes no other."""
    if value is None and spec.dtype not in _NOT_NULLABLE:
        return None
    if not isinstance(spec.dtype, DataType):
        convert_nested(value, spec.dtype, at=at)
        return value
    built, bad = CONVERTERS[spec.dtype].convert([value])
    if bad:
        raise ValueMismatch(bad[0][1], at)
    if spec.dtype == DataType.datetime:
        return _to_naive_datetime(str(value), built[0])
    if isinstance(built, np.ndarray):
        return built[0] if spec.dtype == DataType.float else built[0].item()
    return built[0]


def _to_naive_datetime(text: str, parsed: Any) -> str:
    """The text as it came, so that a date stays a date; one with a zone in UTC, as MLflow's are."""
    zoned = text.endswith("Z") or "+" in text or "-" in text[10:]
    return str(parsed.isoformat()) if zoned else text
