"""JSON arrays for tensor signatures: of the signature's dtype, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow.types.schema import TensorSpec

from workers.errors import InputRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workers.codec.plan import Plan

_NUMBERS = "biufc"
_EXACT = 2**53  # every integer up to here is a double


def tensors(payload: object, plan: Plan, *, what: str) -> Any:
    """`payload` as one ndarray, or as one per name where the signature names its tensors.

    Shapes are left to MLflow's own check, which is exact. Raises InputRefused.
    """
    specs = [spec for spec in (plan.schema.inputs if plan.schema else ()) if isinstance(spec, TensorSpec)]
    if isinstance(payload, dict):
        named = {spec.name: spec for spec in specs}
        if unknown := [name for name in payload if name not in named]:
            raise InputRefused(f"{what} has {unknown[0]!r}, which is no input of the signature.")
        return {name: tensor(value, named[name], what=f"{what}.{name}") for name, value in payload.items()}
    if len(specs) != 1:
        raise InputRefused(f"{what} must be an object with one array per input of the signature.")
    return tensor(payload, specs[0], what=what)


def stacked(records: list[Mapping[str, object]], plan: Plan, *, what: str) -> Any:
    """A list of objects, one per row, as one ndarray per name. Raises InputRefused."""
    names = list(records[0])
    if any(list(record) != names and set(record) != set(names) for record in records):
        raise InputRefused(f"The objects of {what} do not all have the same names.")
    return tensors({name: [record[name] for record in records] for name in names}, plan, what=what)


def tensor(payload: object, spec: TensorSpec, *, what: str) -> np.ndarray[Any, Any]:
    """`payload` as an ndarray of the spec's dtype, with no value changed. Raises InputRefused."""
    try:
        natural = np.array(payload)
        exact = natural.astype(spec.type)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputRefused(f"{what} is not an array of {spec.type}.") from error
    if not _same(natural, exact):
        raise InputRefused(f"{what} has values that {spec.type} cannot hold.")
    return exact


def _same(natural: np.ndarray[Any, Any], exact: np.ndarray[Any, Any]) -> bool:
    if natural.size == 0 or natural.dtype == exact.dtype:
        return True
    if exact.dtype.kind == "f" and natural.dtype.kind in "iuf":
        return bool(np.isfinite(exact).all()) and (
            natural.dtype.kind == "f" or bool((natural.astype(np.float64) == natural).all())
        )
    if (natural.dtype.kind == "b") != (exact.dtype.kind == "b"):
        return False
    if exact.dtype.kind in _NUMBERS and natural.dtype.kind not in _NUMBERS:
        return False
    if natural.dtype.kind == "f" and exact.dtype.kind in "iu" and np.abs(natural).max() > _EXACT:
        return False  # integers beside decimals became doubles: which they were is not known any more
    return bool((natural == exact).all())
