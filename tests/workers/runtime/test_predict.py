"""`FastPredict` passes to the model what MLflow's own `predict` passes, and returns the same."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import mlflow.pyfunc
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.models import ModelSignature
from mlflow.models.utils import _enforce_schema
from mlflow.pyfunc.context import get_prediction_context
from mlflow.pyfunc.model import PythonModel
from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from tests.support import models
from workers.codec import formats
from workers.codec.signature import InputSpec
from workers.protocol.messages import Job
from workers.runtime.predict import FastPredict

if TYPE_CHECKING:
    from pathlib import Path

CELLS: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(-1e30, 1e30) | st.none(),
    "double": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9) | st.none(),
    "string": st.text(max_size=5) | st.none(),
    "binary": st.binary(max_size=5).map(lambda raw: base64.b64encode(raw).decode()) | st.none(),
    "datetime": st.datetimes(
        min_value=pd.Timestamp("1700-01-01").to_pydatetime(),
        max_value=pd.Timestamp("2200-01-01").to_pydatetime(),
    ).map(lambda when: when.isoformat())
    | st.none(),
}
NAMED = Schema([ColSpec(DataType[name], name, required=name not in {"long", "string"}) for name in CELLS])
NAMELESS = Schema([ColSpec(DataType[name]) for name in CELLS])


def spec_of(schema: Schema) -> InputSpec:
    """Return the input specification of a model with this schema."""
    model = mlflow.models.Model()
    model.signature = ModelSignature(inputs=schema)
    return InputSpec.from_model(model, input_checks="strict")


@pytest.mark.parametrize("schema", [NAMED, NAMELESS], ids=["named", "nameless"])
@given(rows=st.lists(st.tuples(*CELLS.values()), min_size=1, max_size=4), labels=st.booleans())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_enforcing_the_signature_changes_nothing(schema: Schema, rows: list[Any], labels: bool) -> None:
    """MLflow returns the codec's frame unchanged, for every scalar type, with nulls and row labels."""
    body: dict[str, Any] = {"data": [list(row) for row in rows]}
    if schema.has_input_names():
        body["columns"] = list(CELLS)
    if labels:
        body["index"] = [f"row {number}" for number in range(len(rows))]
    spec = spec_of(schema)
    assert spec.matches_mlflow
    frame = formats.decode(Job(json.dumps({"dataframe_split": body}).encode()), spec).data
    enforced = _enforce_schema(frame, schema)
    pd.testing.assert_frame_equal(enforced, frame, check_exact=True, check_column_type=True)


class ReturnsArguments(PythonModel):
    """A model that returns what it was called with."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        prediction_context = get_prediction_context()
        return {
            "frame": model_input.to_dict("split"),
            "types": [str(kind) for kind in model_input.dtypes],
            "params": params,
            "model_id": prediction_context.model_id if prediction_context else "no context",
        }


class ReturnsArgumentsWithoutParams(PythonModel):
    """A model that does the same and takes no params."""

    def predict(self, context: Any, model_input: pd.DataFrame) -> Any:  # type: ignore[override] # MLflow allows it
        return {"frame": model_input.to_dict("split")}


PARAMS = ParamSchema([ParamSpec("p", DataType.long, 5)])
AB = Schema([ColSpec(DataType.double, "a"), ColSpec(DataType.string, "b")])


@pytest.mark.parametrize("model", [ReturnsArguments(), ReturnsArgumentsWithoutParams()])
@pytest.mark.parametrize(("schema", "params"), [(None, None), (PARAMS, None), (PARAMS, {"p": 7})])
def test_the_model_is_called_as_by_mlflow(
    tmp_path: Path, model: PythonModel, schema: Any, params: Any
) -> None:
    """It gets its params and their defaults, and MLflow's prediction context."""
    folder = models.save(tmp_path / "model", model, signature=ModelSignature(inputs=AB, params=schema))
    loaded = mlflow.pyfunc.load_model(str(folder))
    fast_predict = FastPredict(loaded, InputSpec.from_model(loaded.metadata, input_checks="strict"))
    frame = pd.DataFrame({"a": [1.5], "b": ["x"]})
    assert fast_predict(frame, params) == loaded.predict(frame, params=params)
