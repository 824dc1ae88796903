"""A model's signature, compiled once at load into what reading a body needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Map, Object

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow.models import Model
    from mlflow.types.schema import ParamSchema, Schema

    from workers.protocol.messages import InputChecks

NUMERIC_DTYPES: dict[Any, np.dtype[Any]] = {
    DataType.double: np.dtype(np.float64),
    DataType.float: np.dtype(np.float32),
    DataType.long: np.dtype(np.int64),
    DataType.integer: np.dtype(np.int32),
}  # the types of MLflow that are plain numbers


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a column signature; `name` is None where the signature names none.

    `type` is MLflow's: a DataType, or an Array, Object, Map or AnyType.
    """

    name: str | None
    type: Any
    required: bool


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What the body of a request is held against.

    `columns` is None where the signature has no columns: it has tensors then (`schema` is set), or
    there is none at all. `type_hinted` models take `inputs` as they come and check them themselves.
    `named` says whether the signature names its columns, `nested` whether one of them holds lists or
    objects, `lists` whether its only column holds lists, `cells` whether its only column is nameless
    and holds objects or anything. `exact` says that a frame made by this plan is what MLflow's own
    enforcement of the signature would make of it; `keeps_types` that a null changes no column's dtype;
    `numeric` that all columns are named and hold numbers.
    """

    metadata: Model
    input_checks: InputChecks
    schema: Schema | None
    params: ParamSchema | None
    columns: tuple[Column, ...] | None
    type_hinted: bool
    has_column_names: bool
    has_nested_columns: bool
    single_list_column: bool
    single_object_column: bool
    matches_mlflow: bool
    null_keeps_dtype: bool
    all_numeric: bool
    column_names: pd.Index[Any]

    @classmethod
    def from_model(cls, metadata: Model, *, input_checks: InputChecks) -> InputSpec:
        """The plan of a model's signature."""
        schema = metadata.get_input_schema()
        schema = schema if schema is not None and schema.inputs else None
        columns = _compile_columns(schema)
        some = columns or ()
        hinted = bool(metadata._is_signature_from_type_hint())  # noqa: SLF001 - as MLflow's own server asks
        return cls(
            metadata=metadata,
            input_checks=input_checks,
            schema=schema,
            params=metadata.get_params_schema(),
            columns=columns,
            type_hinted=hinted,
            has_column_names=any(column.name is not None for column in some),
            has_nested_columns=any(isinstance(column.type, Array | Object | Map) for column in some),
            single_list_column=len(some) == 1 and isinstance(some[0].type, Array),
            single_object_column=len(some) == 1
            and some[0].name is None
            and isinstance(some[0].type, Object | Map | AnyType),
            matches_mlflow=input_checks == "strict"
            and not hinted
            and bool(some)
            and all(isinstance(column.type, DataType) for column in some),
            all_numeric=input_checks == "strict"
            and not hinted
            and all(column.name is not None for column in some)
            and _is_numeric([column.type for column in some]),
            null_keeps_dtype=all(column.type != DataType.string for column in some),
            column_names=pd.Index([column.name for column in some if column.name is not None]),
        )

    def to_column_index(self, names: Sequence[str | int]) -> pd.Index[Any]:
        """The columns' index of a frame, as pandas makes it of names; made once for one that has them all."""
        if self.has_column_names and len(names) == len(self.column_names):
            return self.column_names
        numbered = list(names) == list(range(len(names)))
        return pd.RangeIndex(len(names)) if numbered else pd.Index(list(names))


def _compile_columns(schema: Schema | None) -> tuple[Column, ...] | None:
    if schema is None or schema.is_tensor_spec():
        return None
    return tuple(
        Column(spec.name, spec.type, bool(spec.required))
        for spec in schema.inputs
        if isinstance(spec, ColSpec)
    )


def _is_numeric(types: list[Any]) -> bool:
    """Whether columns of these types are all plain numbers."""
    return bool(types) and all(isinstance(kind, DataType) and kind in NUMERIC_DTYPES for kind in types)
