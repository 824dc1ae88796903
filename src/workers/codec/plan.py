"""A model's signature, compiled once at load into what reading a body needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlflow.types.schema import ColSpec, DataType

if TYPE_CHECKING:
    from mlflow.models import Model
    from mlflow.types.schema import ParamSchema, Schema

    from workers.messages import InputChecks


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a column signature; `name` is None where the signature names none.

    `type` is MLflow's: a DataType, or an Array, Object, Map or AnyType.
    """

    name: str | None
    type: Any
    required: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What the body of a request is held against.

    `columns` is None where the signature has no columns: it has tensors then (`schema` is set), or
    there is none at all. `type_hinted` models take `inputs` as they come and check them themselves.
    """

    metadata: Model
    checks: InputChecks
    schema: Schema | None
    params: ParamSchema | None
    columns: tuple[Column, ...] | None
    type_hinted: bool

    @classmethod
    def of(cls, metadata: Model, *, checks: InputChecks) -> Plan:
        """The plan of a model's signature."""
        schema = metadata.get_input_schema()
        return cls(
            metadata=metadata,
            checks=checks,
            schema=schema,
            params=metadata.get_params_schema(),
            columns=_columns(schema),
            type_hinted=bool(metadata._is_signature_from_type_hint()),  # noqa: SLF001 - as MLflow's own server asks
        )

    @property
    def named(self) -> bool:
        """Whether the signature names its columns."""
        return self.columns is not None and self.columns[0].name is not None

    @property
    def nested(self) -> bool:
        """Whether some column holds arrays, objects or maps."""
        return any(not isinstance(column.type, DataType) for column in self.columns or ())


def _columns(schema: Schema | None) -> tuple[Column, ...] | None:
    if schema is None or schema.is_tensor_spec() or not schema.inputs:
        return None
    return tuple(
        Column(spec.name, spec.type, bool(spec.required))
        for spec in schema.inputs
        if isinstance(spec, ColSpec)
    )
