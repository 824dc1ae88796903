"""A scikit-learn model gets arrays in place of frames only if its predictions stay the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import ElasticNet, LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from tests.support import models
from workers.protocol.messages import Job, ModelKey, ModelSource
from workers.runtime.model import LoadedModel

if TYPE_CHECKING:
    from pathlib import Path

FRAME = pd.DataFrame(np.random.default_rng(8).normal(size=(60, 4)), columns=["a", "b", "c", "d"])
TARGET = FRAME["a"] * 2 - FRAME["c"]
CLASSES = np.where(TARGET > 0, "high", "low")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what loading a model sets for the process."""
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "false")


def loaded(folder: Path, estimator: Any, frame: pd.DataFrame = FRAME, target: Any = TARGET) -> LoadedModel:
    """Fit, save and load an estimator."""
    saved = models.save_sklearn(folder / "model", estimator.fit(frame, target), frame)
    return LoadedModel(ModelSource(ModelKey("m", "1", "f"), str(saved)))


def predicted(model: LoadedModel, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> tuple[type, Any]:
    """Return the type of the data that the estimator gets for a frame's body, and the predictions."""
    types: list[type] = []
    estimator = model._model.get_raw_model()
    predict = estimator.predict

    def recording(data: Any) -> Any:
        types.append(type(data))
        return predict(data)

    monkeypatch.setattr(estimator, "predict", recording)
    body = {"dataframe_split": {"columns": list(frame.columns), "data": frame.to_numpy().tolist()}}
    predictions = json.loads(model.predict(Job(json.dumps(body).encode())).body)
    return types[0], predictions


@pytest.mark.parametrize(
    ("estimator", "target"),
    [
        (ElasticNet(alpha=0.1), TARGET),
        (RandomForestRegressor(10, random_state=1), TARGET),
        (HistGradientBoostingRegressor(max_iter=5), TARGET),
        (GradientBoostingClassifier(n_estimators=3), CLASSES),
        (make_pipeline(StandardScaler(), PCA(3), LogisticRegression()), CLASSES),
    ],
)
@pytest.mark.parametrize("rows", [1, 2, 60])
def test_arrays_change_no_prediction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, estimator: Any, target: Any, rows: int
) -> None:
    """The predictions equal those of the estimator for the frame itself, to the last digit."""
    model = loaded(tmp_path, estimator, target=target)
    frame = pd.DataFrame({name: FRAME[name][:rows].to_list() for name in FRAME})  # as MLflow makes frames
    assert predicted(model, frame, monkeypatch) == (np.ndarray, estimator.predict(frame).tolist())


MIXED = FRAME.assign(d=np.arange(60))


@pytest.mark.parametrize(
    ("estimator", "frame"),
    [
        (make_pipeline(ColumnTransformer([("n", StandardScaler(), ["a", "c"])]), LinearRegression()), FRAME),
        (make_pipeline(FunctionTransformer(np.tanh), LinearRegression()), FRAME),
        (make_pipeline(StandardScaler().set_output(transform="pandas"), LinearRegression()), FRAME),
        (LinearRegression(), MIXED),
    ],
    ids=["by name", "a function", "frames between steps", "columns of two types"],
)
def test_a_model_that_may_use_more_than_values_gets_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, estimator: Any, frame: pd.DataFrame
) -> None:
    """It may use column names or several dtypes, or pass frames between its steps."""
    model = loaded(tmp_path, estimator, frame)
    data_type, predictions = predicted(model, frame[:3], monkeypatch)
    assert data_type is pd.DataFrame
    assert predictions == estimator.predict(frame[:3]).tolist()


class UsesNames(LinearRegression):  # type: ignore[misc] # scikit-learn has no types
    """A custom estimator that uses the column names."""

    def predict(self, data: Any) -> Any:
        return super().predict(data) + len(list(data.columns))


def test_a_custom_estimator_gets_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may look at anything."""
    estimator = UsesNames()
    model = loaded(tmp_path, estimator)
    assert predicted(model, FRAME[:2], monkeypatch) == (pd.DataFrame, estimator.predict(FRAME[:2]).tolist())
