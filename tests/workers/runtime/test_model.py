"""A loaded model decodes bodies and encodes predictions, and blames the right side for a failure."""

from __future__ import annotations

import json
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature, infer_signature
from mlflow.types.schema import AnyType, ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
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
    """Undo what loading a model sets for the process."""
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "false")


def loaded(
    folder: Path,
    model: PythonModel,
    signature: ModelSignature | None = None,
    *,
    checks: InputChecks = "strict",
) -> LoadedModel:
    """Save the model to `folder` and load it from there."""
    models.save(folder / "model", model, signature=signature)
    return LoadedModel(ModelSource(ModelKey("m", "1", "f"), str(folder / "model"), checks))


def predict(model: LoadedModel, document: Any) -> Any:
    """Return the model's predictions for a JSON document."""
    body = model.predict(Job(json.dumps(document).encode())).body
    return json.loads(body)


LONGS = ModelSignature(inputs=Schema([ColSpec(DataType.long, "x")]))


@pytest.mark.parametrize(
    ("document", "rows"),
    [
        ({"dataframe_records": [{"x": 1}, {"x": 2}, {"x": 3}]}, 3),
        ({"inputs": [[1, 2], [3, 4]]}, 2),
        ({"inputs": {"a": [1, 2, 3, 4], "b": [1, 2, 3, 4]}}, 4),
        ({"inputs": "text"}, 1),
        ({"inputs": 7}, 1),
    ],
)
def test_the_rows_of_a_call(tmp_path: Path, document: Any, rows: int) -> None:
    """They are those of a table, a list or the tensors of a dictionary; what has no rows counts as one."""
    model = loaded(tmp_path, models.Echo())
    with suppress(Exception):  # whether the model can predict it or not
        predict(model, document)
    assert model.rows == rows


def test_a_scikit_learn_model_predicts_the_same(tmp_path: Path) -> None:
    """Its predictions for a JSON body equal those of the estimator in this process."""
    table = pd.DataFrame(np.random.default_rng(3).random((20, 3)), columns=["a", "b", "c"])
    estimator = LinearRegression().fit(table, table["a"] * 2 + table["c"])
    signature = infer_signature(table, estimator.predict(table))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the model is a pickle
        mlflow.sklearn.save_model(
            estimator, tmp_path / "model", signature=signature, pip_requirements=["scikit-learn"],
            serialization_format="cloudpickle",
        )  # fmt: skip
        model = LoadedModel(ModelSource(ModelKey("m", "1", "f"), str(tmp_path / "model")))
    assert predict(model, {"dataframe_split": table.to_dict("split")}) == estimator.predict(table).tolist()


def test_wide_integers_stay_exact(tmp_path: Path) -> None:
    """2^53 + 1 beside 2.0 passes MLflow's validation in `predict` and comes back unchanged."""
    model = loaded(tmp_path, models.Echo(), LONGS)
    assert predict(model, {"instances": [{"x": 2.0}, {"x": 2**53 + 1}]}) == [{"x": 2}, {"x": 2**53 + 1}]


def test_invalid_input_and_unknown_media_type(tmp_path: Path) -> None:
    """An input that does not fit the signature is the client's fault; so is an unknown media type."""
    model = loaded(tmp_path, models.Echo(), LONGS)
    with pytest.raises(InvalidInput, match="column 'x', row 0"):
        predict(model, {"inputs": [1.9]})
    with pytest.raises(UnsupportedMediaType):
        model.predict(Job(b"x\n1", "text/html"))


def test_input_checks_by_mlflow(tmp_path: Path) -> None:
    """They convert values as MLflow's server does, and no message repeats an input that is rejected."""
    model = loaded(tmp_path, models.Echo(), LONGS, checks="mlflow")
    assert predict(model, {"dataframe_records": [{"x": 2.7, "extra": 1}]}) == [{"x": 2}]
    for body in ({"dataframe_records": [{"y": "s3cr3t"}]}, {"instances": [{"y": "s3cr3t"}]}):
        with pytest.raises(InvalidInput) as caught:
            predict(model, body)
        assert "s3cr3t" not in str(caught.value)


def test_params_reach_the_model(tmp_path: Path) -> None:
    """Params that are sent arrive unchanged, others as the signature's defaults; unknown ones fail."""
    params = ParamSchema([ParamSpec("p", DataType.double, 0.5), ParamSpec("q", DataType.string, "d")])
    signature = ModelSignature(inputs=LONGS.inputs, params=params)
    model = loaded(tmp_path, models.Params(), signature)
    assert predict(model, {"inputs": [1]}) == {"p": 0.5, "q": "d"}
    assert predict(model, {"inputs": [1], "params": {"p": 2}}) == {"p": 2.0, "q": "d"}
    with pytest.raises(InvalidInput, match="'r'"):
        predict(model, {"inputs": [1], "params": {"r": 2}})


def test_tensors(tmp_path: Path) -> None:
    """Named tensors arrive as a dict of arrays of the signature's dtype."""
    signature = ModelSignature(
        inputs=Schema(
            [TensorSpec(np.dtype("float32"), (-1, 2), "a"), TensorSpec(np.dtype("int64"), (-1,), "b")]
        )
    )
    model = loaded(tmp_path, models.Echo(), signature)
    inputs = {"a": [[0.5, 1]], "b": [2**60 + 1]}
    assert predict(model, {"inputs": inputs}) == {"a": [[0.5, 1.0]], "b": [2**60 + 1]}


@pytest.mark.parametrize(
    ("document", "wrapped"), [({"inputs": [[1, 2]]}, True), ({"messages": [{"role": "user"}]}, False)]
)
def test_no_signature(tmp_path: Path, document: dict[str, Any], wrapped: bool) -> None:
    """The model gets the data as it came; only responses to the LLM formats are not wrapped."""
    response = loaded(tmp_path, models.Echo()).predict(Job(json.dumps(document).encode()))
    assert response.wrapped is wrapped
    assert json.loads(response.body) == (document["inputs"] if wrapped else document)


def test_type_hints(tmp_path: Path) -> None:
    """Only `inputs` is accepted. MLflow validates it against the hint and converts no number."""
    model = loaded(tmp_path, models.Wholes())
    assert predict(model, {"inputs": [1, 2**70]}) == ["int 1", f"int {2**70}"]
    for inputs in ([1.9], ["2"], [None], 1, "x", {"a": 1}, None):
        with pytest.raises(InvalidInput):
            predict(model, {"inputs": inputs})
    for form in ("instances", "dataframe_records"):
        with pytest.raises(InvalidInput, match="send inputs"):
            predict(model, {form: [{"x": 1}]})


def test_datetimes_by_type_hint(tmp_path: Path) -> None:
    """MLflow parses ISO 8601 for them, as it does only in a server."""
    model = loaded(tmp_path, models.Days())
    assert predict(model, {"inputs": ["2024-01-02T03:04:05"]}) == [2]
    with pytest.raises(InvalidInput):
        predict(model, {"inputs": ["yesterday"]})


def test_an_mlflow_error_in_the_models_code_is_the_models_fault(tmp_path: Path) -> None:
    """An error that MLflow raises when the model's own code calls it does not blame the client."""
    inner = models.save(tmp_path / "inner", models.Echo(), signature=LONGS)
    model = loaded(tmp_path, models.Calls(str(inner)), LONGS)
    with pytest.raises(MlflowException, match="enforce schema"):
        predict(model, {"inputs": [1]})


def test_predictions_that_cannot_be_json(tmp_path: Path) -> None:
    """They are the model's fault."""
    model = loaded(tmp_path, models.Returns(models.Sums))
    with pytest.raises(ModelError, match="type"):
        predict(model, {"inputs": [1]})


QUESTION = {"role": "user", "content": "q"}
CHECKS: tuple[InputChecks, ...] = ("strict", "mlflow")
ANY_MESSAGES = Schema([ColSpec(AnyType(), "messages"), ColSpec(DataType.double, "t", required=False)])


@pytest.mark.parametrize(
    ("document", "rows"),
    [
        ({"messages": [QUESTION]}, [QUESTION]),
        ({"messages": [QUESTION, QUESTION]}, [QUESTION, QUESTION]),
        ({"messages": [QUESTION, QUESTION], "t": 0.5}, [QUESTION, QUESTION]),
        ({"messages": [1, 2]}, [1, 2]),
        ({"messages": ["a", 1]}, ["a", 1]),
        ({"messages": ["a", "b"]}, [["a", "b"]]),
        ({"messages": ["a", "b"], "t": 0.5}, [["a", "b"]]),
        ({"messages": [], "t": 0.5}, [[]]),
        ({"messages": "text"}, ["text"]),
        ({"messages": None}, [None]),
        ({"messages": [[QUESTION]]}, [[QUESTION]]),
        ({"inputs": {"messages": [QUESTION, QUESTION], "t": 0.5}}, [QUESTION, QUESTION]),
    ],
)
def test_chats_of_any_type(tmp_path: Path, document: dict[str, Any], rows: list[Any]) -> None:
    """A column of any type has a row for each message, and what is no list stands in all: as in MLflow."""
    signature = ModelSignature(inputs=ANY_MESSAGES)
    strict, by_mlflow = (
        loaded(tmp_path / checks, models.Cells(), signature, checks=checks) for checks in CHECKS
    )
    assert predict(strict, document) == predict(by_mlflow, document)
    assert predict(strict, document)[0]["messages"] == rows


def test_chats_whose_lists_differ_in_length(tmp_path: Path) -> None:
    """They are rejected, as is a table that would be far larger than its body."""
    model = loaded(tmp_path, models.Cells(), ModelSignature(inputs=ANY_MESSAGES))
    for document in (
        {"messages": [QUESTION, QUESTION], "t": [0.5]},
        {"inputs": {"messages": [QUESTION] * 1001, **{f"x{number}": 1 for number in range(1000)}}},
    ):
        with pytest.raises(InvalidInput, match="one length"):
            predict(model, document)


@pytest.mark.parametrize("params", [None, ParamSchema([ParamSpec("p", DataType.long, 1)])])
def test_columns_named_by_numbers(tmp_path: Path, params: ParamSchema | None) -> None:
    """A model that was fitted on an array in a frame predicts for each spelling of its columns' names.

    With params in the signature, MLflow checks the frame again.
    """
    array = np.random.default_rng(4).random((6, 2))
    estimator = LinearRegression().fit(array, array.sum(axis=1))
    inputs = infer_signature(pd.DataFrame(array)).inputs
    signature = ModelSignature(inputs, params=params) if params else ModelSignature(inputs)
    mlflow.sklearn.save_model(
        estimator,
        tmp_path / "model",
        signature=signature,
        serialization_format="cloudpickle",
        pip_requirements=[],  # to find them takes a process of its own
    )
    model = LoadedModel(ModelSource(ModelKey("m", "1", "f"), str(tmp_path / "model")))
    expected = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(pd.DataFrame(array)).tolist()
    for body in (
        {"dataframe_split": {"columns": [0, 1], "data": array.tolist()}},
        {"dataframe_split": {"columns": ["0", "1"], "data": array.tolist()}},
        {"dataframe_records": [{"0": a, "1": b} for a, b in array.tolist()]},
        {"instances": array.tolist()},
    ):
        assert predict(model, body) == expected
    with pytest.raises(InvalidInput, match="column '2'"):
        predict(model, {"dataframe_records": [{"0": 1, "1": 2, "2": 3}]})


@pytest.mark.parametrize("checks", ["strict", "mlflow"])
@pytest.mark.parametrize("names", ["[true, false]", '[NaN, "a"]', '[["a", 1], "b"]', '[0, "0"]', "[1, 0]"])
def test_names_that_mlflow_writes_and_cannot_read(tmp_path: Path, names: str, checks: InputChecks) -> None:
    """Such a model can be loaded; a body is answered or rejected, and nothing else is raised."""
    specs = [{"type": "double", "name": name, "required": True} for name in json.loads(names)]
    inputs = Schema.from_json(json.dumps(specs))
    signature = ModelSignature(inputs=inputs, params=ParamSchema([ParamSpec("p", DataType.long, 1)]))
    model = loaded(tmp_path, models.Returns([1.5]), signature, checks=checks)
    for body in ({"instances": [[1, 2]]}, {"dataframe_split": {"columns": [0, 1], "data": [[1, 2]]}}):
        try:
            assert predict(model, body) == [1.5]
        except InvalidInput:
            continue
