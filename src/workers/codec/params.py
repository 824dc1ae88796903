"""The inference parameters of a request, held against the signature's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException
from mlflow.types.schema import DataType, ParamSpec

from workers.codec.columns import ColumnRefused, convert
from workers.codec.plan import Column
from workers.errors import InputRefused
from workers.messages import Cell

if TYPE_CHECKING:
    from workers.codec.plan import Plan


def checked(params: object, plan: Plan) -> dict[str, Any] | None:
    """The params, none of them unknown or changed in value. Raises InputRefused."""
    if params is None or params == {}:
        return None
    if not isinstance(params, dict):
        raise InputRefused("params must be an object.")
    specs = {spec.name: spec for spec in plan.params.params} if plan.params is not None else {}
    problems = [Cell(None, name, "not a parameter of the signature") for name in params if name not in specs]
    for name, value in params.items():
        if name in specs and (reason := _why(value, specs[name])):
            problems.append(Cell(None, name, reason))
    if problems:
        first = problems[0]
        raise InputRefused(f"params: {first.column!r}: {first.reason}.", tuple(problems[:5]))
    return params


def _why(value: object, spec: ParamSpec) -> str | None:
    """Why a value cannot be the parameter's, None where it can."""
    if isinstance(spec.dtype, DataType) and value is not None:
        cells = value if spec.shape is not None and isinstance(value, list) else [value]
        try:
            convert(cells, Column(spec.name, spec.dtype, required=True))
        except ColumnRefused as refused:
            return refused.bad[0][1]
    try:
        ParamSpec.validate_param_spec(value, spec)
    except MlflowException:
        return "does not fit the type or shape that the signature gives this parameter"
    return None
