"""A frame's array in place of the frame: only where scikit-learn makes nothing else of either."""

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
    """What loading sets for the process is undone."""
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "false")


def loaded(folder: Path, made: Any, frame: pd.DataFrame = FRAME, target: Any = TARGET) -> LoadedModel:
    """An estimator, fitted, saved and loaded."""
    saved = models.save_sklearn(folder / "model", made.fit(frame, target), frame)
    return LoadedModel(ModelSource(ModelKey("m", "1", "f"), str(saved)))


def given(model: LoadedModel, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> tuple[type, Any]:
    """What kind of thing the estimator is given for a frame's body, and the answer."""
    kinds: list[type] = []
    estimator = model._model.get_raw_model()
    predict = estimator.predict

    def noted(data: Any) -> Any:
        kinds.append(type(data))
        return predict(data)

    monkeypatch.setattr(estimator, "predict", noted)
    body = {"dataframe_split": {"columns": list(frame.columns), "data": frame.to_numpy().tolist()}}
    answer = json.loads(model.predict(Job(json.dumps(body).encode())).body)
    return kinds[0], answer


@pytest.mark.parametrize(
    ("made", "target"),
    [
        (ElasticNet(alpha=0.1), TARGET),
        (RandomForestRegressor(10, random_state=1), TARGET),
        (HistGradientBoostingRegressor(max_iter=5), TARGET),
        (GradientBoostingClassifier(n_estimators=3), CLASSES),
        (make_pipeline(StandardScaler(), PCA(3), LogisticRegression()), CLASSES),
    ],
)
@pytest.mark.parametrize("rows", [1, 2, 60])
def test_arrays_are_given_and_change_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Any, target: Any, rows: int
) -> None:
    """The answers are those of the estimator to the frame itself, to the last digit."""
    model = loaded(tmp_path, made, target=target)
    apart = pd.DataFrame({name: FRAME[name][:rows].to_list() for name in FRAME})  # as MLflow makes frames
    assert given(model, apart, monkeypatch) == (np.ndarray, made.predict(apart).tolist())


MIXED = FRAME.assign(d=np.arange(60))


@pytest.mark.parametrize(
    ("made", "frame"),
    [
        (make_pipeline(ColumnTransformer([("n", StandardScaler(), ["a", "c"])]), LinearRegression()), FRAME),
        (make_pipeline(FunctionTransformer(np.tanh), LinearRegression()), FRAME),
        (make_pipeline(StandardScaler().set_output(transform="pandas"), LinearRegression()), FRAME),
        (LinearRegression(), MIXED),
    ],
    ids=["by name", "a function", "frames between steps", "columns of two types"],
)
def test_whatever_may_look_at_more_is_given_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Any, frame: pd.DataFrame
) -> None:
    """Names, other dtypes, steps that want frames."""
    model = loaded(tmp_path, made, frame)
    kind, answer = given(model, frame[:3], monkeypatch)
    assert kind is pd.DataFrame
    assert answer == made.predict(frame[:3]).tolist()


class Peeks(LinearRegression):  # type: ignore[misc] # scikit-learn has no types
    """Somebody's own: looks at the names."""

    def predict(self, data: Any) -> Any:
        return super().predict(data) + len(list(data.columns))


def test_somebodys_own_estimator_is_given_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may look at anything."""
    made = Peeks()
    model = loaded(tmp_path, made)
    assert given(model, FRAME[:2], monkeypatch) == (pd.DataFrame, made.predict(FRAME[:2]).tolist())
