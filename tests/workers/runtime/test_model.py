"""A loaded model: bodies in, JSON out, and whose fault a failure is."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature, infer_signature
from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from sklearn.linear_model import LinearRegression

from tests.support import models
from workers.errors import InvalidInput, ModelError, UnsupportedMediaType
from workers.protocol.messages import InputChecks, Job, ModelKey, ModelSource
from workers.runtime.model import LoadedModel

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow.pyfunc.model import PythonModel


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What loading sets for the process is undone."""
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "false")


def loaded(
    folder: Path,
    model: PythonModel,
    signature: ModelSignature | None = None,
    *,
    checks: InputChecks = "strict",
) -> LoadedModel:
    """The model, saved to `folder` and loaded from there."""
    models.save(folder / "model", model, signature=signature)
    return LoadedModel(ModelSource(ModelKey("m", "1", "f"), str(folder / "model"), checks))


def answer(model: LoadedModel, document: Any) -> Any:
    """The model's answer to a body."""
    body = model.predict(Job(json.dumps(document).encode())).body
    return json.loads(body)


LONGS = ModelSignature(inputs=Schema([ColSpec(DataType.long, "x")]))


def test_a_real_model_answers_as_by_itself(tmp_path: Path) -> None:
    """A scikit-learn model through its body gives the numbers that it gives in this process."""
    table = pd.DataFrame(np.random.default_rng(3).random((20, 3)), columns=["a", "b", "c"])
    estimator = LinearRegression().fit(table, table["a"] * 2 + table["c"])
    signature = infer_signature(table, estimator.predict(table))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the pickle that this test makes itself
        mlflow.sklearn.save_model(
            estimator, tmp_path / "model", signature=signature, pip_requirements=["scikit-learn"],
            serialization_format="cloudpickle",
        )  # fmt: skip
        model = LoadedModel(ModelSource(ModelKey("m", "1", "f"), str(tmp_path / "model")))
    assert answer(model, {"dataframe_split": table.to_dict("split")}) == estimator.predict(table).tolist()


def test_wide_integers_reach_the_model_exact(tmp_path: Path) -> None:
    """Through MLflow's own check in `predict`, and back: 2^53 + 1 beside 2.0."""
    model = loaded(tmp_path, models.Echo(), LONGS)
    assert answer(model, {"instances": [{"x": 2.0}, {"x": 2**53 + 1}]}) == [{"x": 2}, {"x": 2**53 + 1}]


def test_refusals_and_types(tmp_path: Path) -> None:
    """What does not fit is the caller's fault; so is a media type that is not known."""
    model = loaded(tmp_path, models.Echo(), LONGS)
    with pytest.raises(InvalidInput, match="column 'x', row 0"):
        answer(model, {"inputs": [1.9]})
    with pytest.raises(UnsupportedMediaType):
        model.predict(Job(b"x\n1", "text/html"))


def test_mlflows_checks(tmp_path: Path) -> None:
    """They change values as MLflow's server does, and refuse without echo what it refuses."""
    model = loaded(tmp_path, models.Echo(), LONGS, checks="mlflow")
    assert answer(model, {"dataframe_records": [{"x": 2.7, "extra": 1}]}) == [{"x": 2}]
    for body in ({"dataframe_records": [{"y": "s3cr3t"}]}, {"instances": [{"y": "s3cr3t"}]}):
        with pytest.raises(InvalidInput) as caught:
            answer(model, body)
        assert "s3cr3t" not in str(caught.value)


def test_params_reach_the_model(tmp_path: Path) -> None:
    """Given ones as they are, the others as the signature's defaults."""
    params = ParamSchema([ParamSpec("p", DataType.double, 0.5), ParamSpec("q", DataType.string, "d")])
    signature = ModelSignature(inputs=LONGS.inputs, params=params)
    model = loaded(tmp_path, models.Params(), signature)
    assert answer(model, {"inputs": [1]}) == {"p": 0.5, "q": "d"}
    assert answer(model, {"inputs": [1], "params": {"p": 2}}) == {"p": 2.0, "q": "d"}
    with pytest.raises(InvalidInput, match="'r'"):
        answer(model, {"inputs": [1], "params": {"r": 2}})


def test_tensors(tmp_path: Path) -> None:
    """Named tensors arrive as a dict of arrays of the signature's dtype."""
    signature = ModelSignature(
        inputs=Schema(
            [TensorSpec(np.dtype("float32"), (-1, 2), "a"), TensorSpec(np.dtype("int64"), (-1,), "b")]
        )
    )
    model = loaded(tmp_path, models.Echo(), signature)
    sent = {"a": [[0.5, 1]], "b": [2**60 + 1]}
    assert answer(model, {"inputs": sent}) == {"a": [[0.5, 1.0]], "b": [2**60 + 1]}


@pytest.mark.parametrize(
    ("document", "wrapped"), [({"inputs": [[1, 2]]}, True), ({"messages": [{"role": "user"}]}, False)]
)
def test_no_signature(tmp_path: Path, document: dict[str, Any], wrapped: bool) -> None:
    """The data is the model's as it came; only the LLM forms are answered unwrapped."""
    answered = loaded(tmp_path, models.Echo()).predict(Job(json.dumps(document).encode()))
    assert answered.wrapped is wrapped
    assert json.loads(answered.body) == (document["inputs"] if wrapped else document)


def test_type_hints(tmp_path: Path) -> None:
    """`inputs` alone, held against the hint by MLflow, which converts no number."""
    model = loaded(tmp_path, models.Wholes())
    assert answer(model, {"inputs": [1, 2**70]}) == ["int 1", f"int {2**70}"]
    for inputs in ([1.9], ["2"], [None], 1, "x", {"a": 1}, None):
        with pytest.raises(InvalidInput):
            answer(model, {"inputs": inputs})
    for form in ("instances", "dataframe_records"):
        with pytest.raises(InvalidInput, match="send inputs"):
            answer(model, {form: [{"x": 1}]})


def test_datetimes_by_type_hint(tmp_path: Path) -> None:
    """MLflow reads ISO 8601 for them only where it knows that it serves."""
    model = loaded(tmp_path, models.Days())
    assert answer(model, {"inputs": ["2024-01-02T03:04:05"]}) == [2]
    with pytest.raises(InvalidInput):
        answer(model, {"inputs": ["yesterday"]})


def test_a_models_own_mlflow_error_is_the_models(tmp_path: Path) -> None:
    """One that MLflow raises beneath the model's own code does not blame the caller."""
    inner = models.save(tmp_path / "inner", models.Echo(), signature=LONGS)
    model = loaded(tmp_path, models.Calls(str(inner)), LONGS)
    with pytest.raises(MlflowException, match="enforce schema"):
        answer(model, {"inputs": [1]})


def test_an_answer_without_json_form(tmp_path: Path) -> None:
    """It is the model that failed."""
    model = loaded(tmp_path, models.Returns(models.Sums))
    with pytest.raises(ModelError, match="type"):
        answer(model, {"inputs": [1]})
