"""Rows of several requests in one call: only where it is proven harmless, and nobody notices."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import ElasticNet, LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from tests.support import models
from tests.workers.conftest import Files, load
from workers.protocol.messages import Batching, Job, ModelKey, ModelSource
from workers.runtime.model import LoadedModel
from workers.runtime.row_batching import RowBatcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from mlflow.pyfunc.model import PythonModel

    from workers.pool.pool import Pool

    Opened = Callable[..., AbstractAsyncContextManager[Pool]]

FRAME = pd.DataFrame(np.random.default_rng(5).normal(size=(40, 3)), columns=["a", "b", "c"])
TARGET = FRAME["a"] * 2 - FRAME["c"]
CLASSES = np.where(TARGET > 0, "high", "low")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What loading sets for the process is undone."""
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "false")


def loaded(folder: Path, batching: Batching = "auto") -> LoadedModel:
    """The model saved in a folder."""
    return LoadedModel(ModelSource(ModelKey("m", "1", "f"), str(folder), batching=batching))


def estimator(folder: Path, made: Any, *, target: Any = TARGET, batching: Batching = "auto") -> LoadedModel:
    """A scikit-learn estimator, fitted, saved and loaded."""
    return loaded(models.save_sklearn(folder / "model", made.fit(FRAME, target), FRAME), batching)


def python(folder: Path, model: PythonModel, batching: Batching) -> LoadedModel:
    """A model of one's own, with the columns a and b."""
    return loaded(models.save(folder / "model", model, signature=models.NUMBERS), batching)


def split(frame: pd.DataFrame, **more: Any) -> Job:
    """A frame as a body."""
    body = {"columns": list(frame.columns), "data": frame.to_numpy().tolist(), **more}
    return Job(json.dumps({"dataframe_split": body}).encode())


def records(frame: pd.DataFrame, form: str = "dataframe_records") -> Job:
    """A frame as objects."""
    return Job(json.dumps({form: frame.to_dict("records")}).encode())


def rows(*values: float) -> list[Job]:
    """A body of one row for each value of a."""
    return [split(pd.DataFrame({"a": [value], "b": [1.0]})) for value in values]


@pytest.mark.parametrize("made", [ElasticNet(alpha=0.1), RandomForestRegressor(10, random_state=1)])
def test_bodies_of_every_plain_form_share_a_call(tmp_path: Path, made: Any) -> None:
    """Each gets what it gets alone, whatever its form, its columns' order and the number of its rows."""
    model = estimator(tmp_path, made)
    assert model.row_batching.enabled, model.row_batching.reason
    jobs = [
        split(FRAME[:1]),
        split(FRAME[1:4]),
        records(FRAME[4:6]),
        records(FRAME[6:7], "inputs"),
        records(FRAME[7:8], "instances"),
        split(FRAME[8:10], index=[0, 1]),
        split(FRAME[["c", "a", "b"]][10:11]),
        split(FRAME[["c", "a", "b"]][11:13]),
    ]
    made_of = model.predict_merged(jobs)
    assert sorted(made_of) == list(range(len(jobs)))
    for number, job in enumerate(jobs):
        alone = json.loads(model.predict(job).body)
        assert json.loads(made_of[number].body) == pytest.approx(alone, rel=1e-9)


def test_labels_share_a_call_too(tmp_path: Path) -> None:
    """Predictions that are texts are parted as numbers are."""
    model = estimator(tmp_path, make_pipeline(StandardScaler(), LogisticRegression()), target=CLASSES)
    assert model.row_batching.enabled, model.row_batching.reason
    jobs = [split(FRAME[at : at + 2]) for at in range(0, 12, 2)]
    made_of = model.predict_merged(jobs)
    assert [json.loads(made_of[at].body) for at in range(6)] == [
        json.loads(model.predict(job).body) for job in jobs
    ]


@pytest.mark.parametrize(
    "job",
    [
        Job(b"no JSON"),
        Job(b"{}"),
        split(FRAME[["a", "b"]][:1]),
        split(FRAME[:1], index=[7]),
        split(FRAME[:1].astype(object).assign(a="x")),
        split(FRAME[:1].astype(object).assign(b=None)),
        Job(split(FRAME[:1]).body, accept="text/csv"),
        Job(b'{"dataframe_records":[{"a":1,"b":2,"c":3}],"params":{"p":1}}'),
        Job(b'{"dataframe_records":[{"a":1,"b":2,"c":3},{"a":1,"b":2}]}'),
        Job(b'{"dataframe_records":[{"a":1,"b":2,"c":9007199254740993}]}'),
        split(pd.concat([FRAME] * 30)),
    ],
    ids=lambda job: job.body[:60].decode(),
)
def test_whatever_is_not_plain_rows_goes_alone(tmp_path: Path, job: Job) -> None:
    """It takes nobody with it: the others are answered together, and it as by itself."""
    model = estimator(tmp_path, ElasticNet(alpha=0.1))
    good = [split(FRAME[at : at + 1]) for at in range(4)]
    made_of = model.predict_merged([*good[:2], job, *good[2:]])
    assert {0, 1, 3, 4} <= set(made_of)
    for number, body in zip((0, 1, 3, 4), good, strict=True):
        assert json.loads(made_of[number].body) == pytest.approx(
            json.loads(model.predict(body).body), rel=1e-9
        )
    assert 2 not in made_of


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (make_pipeline(FunctionTransformer(lambda x: x - x.mean(axis=0)), LinearRegression()), "function"),
        (make_pipeline(FunctionTransformer(np.cumsum, kw_args={"axis": 0}), LinearRegression()), "function"),
    ],
    ids=["the batch's mean", "sums along the batch"],
)
def test_a_step_that_looks_at_the_batch_is_found(tmp_path: Path, made: Any, why: str) -> None:
    """By what the model holds; and where an operator wants rows together all the same, by trying."""
    model = estimator(tmp_path, made)
    assert not model.row_batching.enabled
    assert why in model.row_batching.reason
    forced = loaded(tmp_path / "model", "on")
    assert not forced.row_batching.enabled
    assert "otherwise in company" in forced.row_batching.reason


def test_chance_is_found(tmp_path: Path) -> None:
    """A model that draws numbers would draw others for another batch."""
    model = estimator(tmp_path, DummyClassifier(strategy="stratified", random_state=3), target=CLASSES)
    assert not model.row_batching.enabled
    assert "DummyClassifier" in model.row_batching.reason


@pytest.mark.parametrize(
    ("model", "batching", "on"),
    [
        (models.Sums(), "auto", False),
        (models.Sums(), "on", True),
        (models.Sums(), "off", False),
        (models.Centred(), "auto", False),
        (models.Centred(), "on", False),
        (models.Echo(), "on", False),
    ],
)
def test_models_of_ones_own(tmp_path: Path, model: PythonModel, batching: Batching, on: bool) -> None:
    """Nothing is known of them, so that only the operator's word lets them share, and a trial vetoes it."""
    assert python(tmp_path, model, batching).row_batching.enabled is on


def test_without_an_example_rows_are_made_up(tmp_path: Path) -> None:
    """Numbers can be tried without one."""
    folder = models.save_sklearn(
        tmp_path / "model", LinearRegression().fit(FRAME, TARGET), FRAME, with_example=False
    )
    assert loaded(folder).row_batching.enabled


def test_a_failing_body_fails_alone(tmp_path: Path) -> None:
    """Of a hundred, the two that make the model raise or exit are left over, and few who stood by them."""
    model = python(tmp_path, models.Picky(), "on")
    assert model.row_batching.enabled, model.row_batching.reason
    values = [float(value) for value in range(100)]
    values[13], values[77] = -500.0, 5000.0
    made_of = model.predict_merged(rows(*values))
    left = set(range(100)) - set(made_of)
    assert {13, 77} <= left
    assert len(left) <= 6
    assert all(json.loads(made_of[at].body) == [values[at] + 1.0] for at in made_of)


def test_bodies_that_do_not_fit_cost_no_call_of_the_model(tmp_path: Path) -> None:
    """They are found without it, so that one client's mistakes do not slow the others."""
    model = estimator(tmp_path, ElasticNet(alpha=0.1))
    calls: list[int] = []

    def predict(frame: pd.DataFrame) -> Any:
        calls.append(len(frame))
        return np.zeros(len(frame))

    merger = RowBatcher(model._spec, predict)
    jobs = [split(FRAME[at % 40 : at % 40 + 1]) for at in range(100)]
    jobs[20], jobs[60] = split(FRAME[["a", "b"]][:1]), split(FRAME[:1].astype(object).assign(c="x"))
    assert set(range(100)) - set(merger.predict(jobs)) == {20, 60}
    assert calls == [98]


def test_too_few_rows_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody gets another's row: all are answered alone from then on, and the operator is told why."""
    model = python(tmp_path, models.Short(), "on")
    assert model.row_batching.enabled, model.row_batching.reason
    assert model.predict_merged(rows(*range(9))) == {}
    assert model.predict_merged(rows(1, 2)) == {}
    assert "not one entry for each row" in caplog.text


@pytest.mark.parametrize("batching", ["auto", "on", "off"])
async def test_nobody_sees_anothers_rows(opened: Opened, tmp_path: Path, batching: Batching) -> None:
    """A model that subtracts the mean of its batch, asked by 200 at once: each has its own mean."""
    key = ModelKey("centred", "1", "f")
    folder = models.save(tmp_path / "centred", models.Centred(), signature=models.NUMBERS)
    source = Files(key, folder, batching=batching)
    async with opened() as pool:
        await load(pool, source)
        asked = [pd.DataFrame({"a": [float(at), at + 2.0], "b": [0.0, at]}) for at in range(200)]
        replies = await asyncio.gather(*(pool.predict(key, split(frame)) for frame in asked))
    for frame, reply in zip(asked, replies, strict=True):
        sums = (frame["a"] + frame["b"]).to_numpy()
        assert json.loads(reply.body) == pytest.approx((sums - sums.mean()).tolist())
