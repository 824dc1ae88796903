"""The short call hands the model what MLflow's own `predict` hands it, and returns what that returns."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import mlflow.pyfunc
import pandas as pd
import pytest
from hypothesis import given, settings
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

FIRST, LAST = pd.Timestamp("1700-01-01").to_pydatetime(), pd.Timestamp("2200-01-01").to_pydatetime()
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


def plan(schema: Schema) -> InputSpec:
    """The plan of a model with this input."""
    model = mlflow.models.Model()
    model.signature = ModelSignature(inputs=schema)
    return InputSpec.from_model(model, input_checks="strict")


@pytest.mark.parametrize("schema", [NAMED, NAMELESS], ids=["named", "nameless"])
@given(rows=st.lists(st.tuples(*CELLS.values()), min_size=1, max_size=4), labels=st.booleans())
@settings(max_examples=200, deadline=None)
def test_enforcing_the_signature_changes_nothing(schema: Schema, rows: list[Any], labels: bool) -> None:
    """For every scalar type, with nulls and labels: MLflow makes of the codec's frame that very frame."""
    body: dict[str, Any] = {"data": [list(row) for row in rows]}
    if schema.has_input_names():
        body["columns"] = list(CELLS)
    if labels:
        body["index"] = [f"row {at}" for at in range(len(rows))]
    held = plan(schema)
    assert held.matches_mlflow
    made = formats.decode(Job(json.dumps({"dataframe_split": body}).encode()), held).data
    pd.testing.assert_frame_equal(
        _enforce_schema(made, schema), made, check_exact=True, check_column_type=True
    )


class Tells(PythonModel):
    """Answers what it was called with."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        seen = get_prediction_context()
        return {
            "frame": model_input.to_dict("split"),
            "types": [str(kind) for kind in model_input.dtypes],
            "params": params,
            "model_id": seen.model_id if seen else "no context",
        }


class TellsWithoutParams(PythonModel):
    """Likewise, by a function that takes none."""

    def predict(self, context: Any, model_input: pd.DataFrame) -> Any:  # type: ignore[override] # MLflow allows it
        return {"frame": model_input.to_dict("split")}


PARAMS = ParamSchema([ParamSpec("p", DataType.long, 5)])
AB = Schema([ColSpec(DataType.double, "a"), ColSpec(DataType.string, "b")])


@pytest.mark.parametrize("model", [Tells(), TellsWithoutParams()])
@pytest.mark.parametrize(("schema", "params"), [(None, None), (PARAMS, None), (PARAMS, {"p": 7})])
def test_the_model_is_called_alike(tmp_path: Path, model: PythonModel, schema: Any, params: Any) -> None:
    """With its params and their defaults, in MLflow's context."""
    folder = models.save(tmp_path / "model", model, signature=ModelSignature(inputs=AB, params=schema))
    loaded = mlflow.pyfunc.load_model(str(folder))
    call = FastPredict(loaded, InputSpec.from_model(loaded.metadata, input_checks="strict"))
    frame = pd.DataFrame({"a": [1.5], "b": ["x"]})
    assert call(frame, params) == loaded.predict(frame, params=params)
