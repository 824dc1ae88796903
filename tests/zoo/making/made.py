"""A trained model with all arguments of MLflow's `log_model`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlflow.types.schema import ColSpec, DataType, Schema, TensorSpec

if TYPE_CHECKING:
    from mlflow.models import ModelSignature


@dataclass(frozen=True, slots=True)
class Made:
    """`flavor` is the module of mlflow that saves it, `options` are that module's own."""

    flavor: str
    model: Any
    signature: ModelSignature | None = None
    options: dict[str, Any] = field(default_factory=dict)


def columns(**types: Any) -> Schema:
    """A column schema.

    A type is a DataType's name or a type of MLflow's; a column whose name ends in `_or_null` is optional.
    """
    specs: list[ColSpec | TensorSpec] = []
    for name, kind in types.items():
        wanted = DataType[kind] if isinstance(kind, str) else kind
        specs.append(ColSpec(wanted, name.removesuffix("_or_null"), required=not name.endswith("_or_null")))
    return Schema(specs)
