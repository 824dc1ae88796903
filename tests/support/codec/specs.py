"""Input specs of real signatures, and the model input that the codec and MLflow make of JSON bodies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from mlflow.models import Model, ModelSignature
from mlflow.models.utils import _enforce_schema
from mlflow.pyfunc.scoring_server import infer_and_parse_data
from mlflow.types.schema import ColSpec, DataType, ParamSchema, Schema

from workers.codec import formats
from workers.codec.input_errors import limit_details
from workers.codec.signature import InputSpec
from workers.errors import InvalidInput
from workers.protocol.messages import DEFAULT_DETAILS, InputChecks, Job

if TYPE_CHECKING:
    from workers.codec.request import DecodedRequest

SENTINEL = "s3cr3t-7316"  # a value that no error may repeat


def columns(*specs: tuple[Any, str | None] | ColSpec) -> Schema:
    """Return a schema of columns, each given as a ColSpec or as a type and a name."""
    return Schema([spec if isinstance(spec, ColSpec) else ColSpec(*spec) for spec in specs])


def column(mlflow_type: Any, *, required: bool = True) -> Schema:
    """Return a schema of one column, `x`."""
    return Schema([ColSpec(mlflow_type, "x", required=required)])


def input_spec(
    schema: Schema | None, *, params: ParamSchema | None = None, checks: InputChecks = "strict"
) -> InputSpec:
    """Return the input spec of a model with this signature."""
    model = Model()
    if schema is not None or params is not None:
        model.signature = ModelSignature(inputs=schema, params=params)  # type: ignore[arg-type] # None is its default
    return InputSpec.from_model(model, input_checks=checks)


def json_body(document: Any) -> bytes:
    """Return a document as Python's own encoder writes it; bytes are returned unchanged."""
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def decode(document: Any, schema: Schema | None, **options: Any) -> DecodedRequest:
    """Decode a JSON body for a model with this signature."""
    return formats.decode(Job(json_body(document)), input_spec(schema, **options))


def model_input(document: Any, schema: Schema | None, *, enforced: bool = True) -> Any:
    """Return the model's input of a JSON body, after MLflow's own check in `predict`."""
    decoded = decode(document, schema).data
    return _enforce_schema(decoded, schema) if enforced and schema is not None else decoded


def mlflow_input(document: Any, schema: Schema | None) -> Any:
    """Return the model's input that MLflow's scoring server makes of the same body."""
    parsed = infer_and_parse_data(json.loads(json_body(document)), schema)  # type: ignore[arg-type] # None is its default
    return _enforce_schema(parsed, schema) if schema is not None else parsed


def decode_error(document: Any, schema: Schema | None, **options: Any) -> InvalidInput:
    """Return the error that a client gets, after a check that it does not repeat the sentinel."""
    with pytest.raises(InvalidInput) as caught:
        decode(document, schema, **options)
    assert SENTINEL not in f"{caught.value} {caught.value.details}"
    return limit_details(caught.value, DEFAULT_DETAILS)


def split_body(values: list[Any]) -> dict[str, Any]:
    """Return a `dataframe_split` body of one column, `x`."""
    return {"dataframe_split": {"columns": ["x"], "data": [[value] for value in values]}}


MIXED = columns(
    (DataType.long, "count"),
    (DataType.double, "size"),
    (DataType.string, "name"),
    (DataType.boolean, "open"),
    (DataType.datetime, "since"),
)
