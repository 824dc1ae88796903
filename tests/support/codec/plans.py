"""Plans of real signatures, what the codec makes of a body, and what MLflow's own functions make of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from mlflow.models import Model, ModelSignature
from mlflow.models.utils import _enforce_schema
from mlflow.pyfunc.scoring_server import infer_and_parse_data
from mlflow.types.schema import ColSpec, DataType, ParamSchema, Schema

from workers.codec import formats
from workers.codec.signature import InputSpec
from workers.errors import InvalidInput
from workers.protocol.messages import InputChecks, Job

if TYPE_CHECKING:
    from workers.codec.request import DecodedRequest

SENTINEL = "s3cr3t-7316"


def columns(*specs: tuple[Any, str | None] | ColSpec) -> Schema:
    """A schema of columns, each a ColSpec or a type and a name."""
    return Schema([spec if isinstance(spec, ColSpec) else ColSpec(*spec) for spec in specs])


def column(kind: Any, *, required: bool = True) -> Schema:
    """A schema of one column, `x`."""
    return Schema([ColSpec(kind, "x", required=required)])


def plan(
    schema: Schema | None, *, params: ParamSchema | None = None, checks: InputChecks = "strict"
) -> InputSpec:
    """The plan of a model with this signature."""
    model = Model()
    if schema is not None or params is not None:
        model.signature = ModelSignature(inputs=schema, params=params)  # type: ignore[arg-type] # None is its default
    return InputSpec.from_model(model, input_checks=checks)


def encoded(document: Any) -> bytes:
    """A body, as Python's own encoder writes it."""
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def read(document: Any, schema: Schema | None, **options: Any) -> DecodedRequest:
    """What the codec makes of a body."""
    return formats.decode(Job(encoded(document)), plan(schema, **options))


def data(document: Any, schema: Schema | None, *, enforced: bool = True) -> Any:
    """The model's input: what `predict` hands on, after MLflow's own check of what the codec made."""
    made = read(document, schema).data
    return _enforce_schema(made, schema) if enforced and schema is not None else made


def by_mlflow(document: Any, schema: Schema | None) -> Any:
    """The model's input when MLflow's scoring server reads the same body."""
    parsed = infer_and_parse_data(json.loads(encoded(document)), schema)  # type: ignore[arg-type] # None is its default
    return _enforce_schema(parsed, schema) if schema is not None else parsed


def refused(document: Any, schema: Schema | None, **options: Any) -> InvalidInput:
    """The refusal of a body; neither its message nor its details hold the sentinel."""
    with pytest.raises(InvalidInput) as caught:
        read(document, schema, **options)
    assert SENTINEL not in f"{caught.value} {caught.value.details}"
    return caught.value


def split(kind_of_values: list[Any]) -> dict[str, Any]:
    """A `dataframe_split` body of one column, `x`."""
    return {"dataframe_split": {"columns": ["x"], "data": [[value] for value in kind_of_values]}}


MIXED = columns(
    (DataType.long, "count"),
    (DataType.double, "size"),
    (DataType.string, "name"),
    (DataType.boolean, "open"),
    (DataType.datetime, "since"),
)
