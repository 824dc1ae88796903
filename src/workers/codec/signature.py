"""A model's input signature, compiled once when the model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import Model
from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Map, Object, ParamSchema, Schema

from workers.codec import labels
from workers.protocol.messages import InputChecks

NUMERIC_DTYPES: dict[Any, np.dtype[Any]] = {
    DataType.double: np.dtype(np.float64),
    DataType.float: np.dtype(np.float32),
    DataType.long: np.dtype(np.int64),
    DataType.integer: np.dtype(np.int32),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a signature; `name` is None if the signature names no columns.

    `name` is text even if the signature has a number there, as `infer_signature` writes for the columns of
    `pd.DataFrame(array)`. `type` is MLflow's: a DataType, or an Array, Object, Map or AnyType.
    """

    name: str | None
    type: Any
    required: bool


@dataclass(frozen=True, slots=True)
class InputSpec:
    """A specification of the input that a model accepts.

    A signature of columns sets `schema` and `columns`, one of tensors sets `schema` alone. Both are None
    if the model has no signature.
    """

    metadata: Model
    input_checks: InputChecks
    schema: Schema | None
    params: ParamSchema | None
    columns: tuple[Column, ...] | None
    type_hinted: bool  # the model takes `inputs` as they are and checks them against its type hints
    has_column_names: bool
    has_nested_columns: bool  # a column holds lists, objects or maps
    single_list_column: bool  # the only column holds lists
    single_object_column: bool  # the only column has no name and holds objects, maps or values of any type
    matches_mlflow: bool  # MLflow's own enforcement changes nothing in a frame that fits
    null_keeps_dtype: bool  # a null changes no column's dtype
    all_numeric: bool  # every column has a name and holds numbers
    column_names: pd.Index[Any]  # what a complete frame's columns are called; may hold numbers
    number_names: dict[float, str]  # number → text, for the names that are numbers in the signature
    names_rows: bool  # the names are 0, 1, …, as pandas calls the columns of rows without names
    names_error: str | None  # why no body can name all the columns or tensors

    @classmethod
    def from_model(cls, metadata: Model, *, input_checks: InputChecks) -> InputSpec:
        """Compile the signature in a model's metadata."""
        schema = metadata.get_input_schema()
        schema = schema if schema is not None and schema.inputs else None
        own_names = [spec.name for spec in (schema.inputs if schema else ()) if spec.name is not None]
        columns = _compile_columns(schema)
        known = columns or ()
        type_hinted = bool(metadata._is_signature_from_type_hint())  # noqa: SLF001 - as MLflow's own server asks
        strict = input_checks == "strict" and not type_hinted and bool(known)
        params = metadata.get_params_schema()
        matches_mlflow = strict and all(isinstance(column.type, DataType) for column in known)
        names = [column.name for column in known if column.name is not None]
        names_error = None
        if input_checks == "strict" and not type_hinted:
            names_error = labels.names_error(own_names, enforced=params is not None or not matches_mlflow)
        return cls(
            metadata=metadata,
            input_checks=input_checks,
            schema=schema,
            params=params,
            columns=columns,
            type_hinted=type_hinted,
            has_column_names=bool(names),
            has_nested_columns=any(isinstance(column.type, Array | Object | Map) for column in known),
            single_list_column=len(known) == 1 and isinstance(known[0].type, Array),
            single_object_column=len(known) == 1
            and known[0].name is None
            and isinstance(known[0].type, Object | Map | AnyType),
            matches_mlflow=matches_mlflow and names_error is None,
            all_numeric=strict
            and names_error is None
            and len(names) == len(known)
            and all(map(_is_numeric, known)),
            null_keeps_dtype=all(column.type != DataType.string for column in known),
            column_names=labels.to_index(own_names) if columns is not None else pd.Index([]),
            number_names={name: str(name) for name in own_names if labels.is_number(name)},
            names_rows=labels.are_positions(own_names),
            names_error=names_error,
        )

    def to_column_index(self, names: Sequence[str | float]) -> pd.Index[Any]:
        """Return the columns of a frame with these names; the same object for each complete frame."""
        if self.has_column_names and len(names) == len(self.column_names):
            return self.column_names
        if self.has_column_names and self.number_names:
            given = set(names)
            return labels.to_index([name for name in self.column_names if str(name) in given])
        numbered = list(names) == list(range(len(names)))
        return pd.RangeIndex(len(names)) if numbered else pd.Index(list(names))


def _compile_columns(schema: Schema | None) -> tuple[Column, ...] | None:
    if schema is None or schema.is_tensor_spec():
        return None
    return tuple(
        Column(None if spec.name is None else str(spec.name), spec.type, bool(spec.required))
        for spec in schema.inputs
        if isinstance(spec, ColSpec)
    )


def _is_numeric(column: Column) -> bool:
    return isinstance(column.type, DataType) and column.type in NUMERIC_DTYPES
