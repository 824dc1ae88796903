"""One call predicts rows of several requests only if that is proven harmless, and changes no prediction."""

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
from workers.codec.inputs.frames import to_frame
from workers.protocol.messages import Batching, Job, ModelKey, ModelSource
from workers.runtime.model import LoadedModel
from workers.runtime.row_batching import RowBatcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from mlflow.pyfunc.model import PythonModel

    from workers.codec.inputs.tables import Table
    from workers.pool.pool import Pool

    Opened = Callable[..., AbstractAsyncContextManager[Pool]]

FRAME = pd.DataFrame(np.random.default_rng(5).normal(size=(40, 3)), columns=["a", "b", "c"])
TARGET = FRAME["a"] * 2 - FRAME["c"]
CLASSES = np.where(TARGET > 0, "high", "low")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what loading a model sets for the process."""
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "false")


def loaded(folder: Path, batching: Batching = "auto") -> LoadedModel:
    """Load the model of a folder."""
    return LoadedModel(ModelSource(ModelKey("m", "1", "f"), str(folder), batching=batching))


def loaded_sklearn(folder: Path, estimator: Any, *, target: Any = TARGET) -> LoadedModel:
    """Fit, save and load a scikit-learn estimator."""
    return loaded(models.save_sklearn(folder / "model", estimator.fit(FRAME, target), FRAME))


def loaded_python(folder: Path, model: PythonModel, batching: Batching) -> LoadedModel:
    """Save and load a Python model with the columns a and b."""
    return loaded(models.save(folder / "model", model, signature=models.NUMBERS), batching)


def split(frame: pd.DataFrame, **fields: Any) -> Job:
    """Return a frame as a `dataframe_split` body."""
    body = {"columns": list(frame.columns), "data": frame.to_numpy().tolist(), **fields}
    return Job(json.dumps({"dataframe_split": body}).encode())


def records(frame: pd.DataFrame, form: str = "dataframe_records") -> Job:
    """Return a frame as a body of objects."""
    return Job(json.dumps({form: frame.to_dict("records")}).encode())


def rows(*values: float) -> list[Job]:
    """Return a body of one row for each value of a."""
    return [split(pd.DataFrame({"a": [value], "b": [1.0]})) for value in values]


@pytest.mark.parametrize("estimator", [ElasticNet(alpha=0.1), RandomForestRegressor(10, random_state=1)])
def test_bodies_of_every_plain_form_share_a_call(tmp_path: Path, estimator: Any) -> None:
    """Predictions equal those alone, whatever the form, the order of columns and the number of rows."""
    model = loaded_sklearn(tmp_path, estimator)
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
    replies = model.predict_merged(jobs)
    assert sorted(replies) == list(range(len(jobs)))
    assert sorted(reply.rows for reply in replies.values()) == [0] * (len(jobs) - 2) + [3, 10]
    for number, job in enumerate(jobs):
        alone = json.loads(model.predict(job).body)
        assert json.loads(replies[number].body) == pytest.approx(alone, rel=1e-9)


def test_labels_share_a_call_too(tmp_path: Path) -> None:
    """Predictions that are strings are split as numbers are."""
    model = loaded_sklearn(tmp_path, make_pipeline(StandardScaler(), LogisticRegression()), target=CLASSES)
    assert model.row_batching.enabled, model.row_batching.reason
    jobs = [split(FRAME[row : row + 2]) for row in range(0, 12, 2)]
    replies = model.predict_merged(jobs)
    assert [json.loads(replies[number].body) for number in range(6)] == [
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
def test_a_body_that_is_not_plain_rows_is_left_out(tmp_path: Path, job: Job) -> None:
    """The other bodies still share a call."""
    model = loaded_sklearn(tmp_path, ElasticNet(alpha=0.1))
    plain = [split(FRAME[row : row + 1]) for row in range(4)]
    replies = model.predict_merged([*plain[:2], job, *plain[2:]])
    assert {0, 1, 3, 4} <= set(replies)
    for number, body in zip((0, 1, 3, 4), plain, strict=True):
        assert json.loads(replies[number].body) == pytest.approx(
            json.loads(model.predict(body).body), rel=1e-9
        )
    assert 2 not in replies


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (make_pipeline(FunctionTransformer(lambda x: x - x.mean(axis=0)), LinearRegression()), "function"),
        (make_pipeline(FunctionTransformer(np.cumsum, kw_args={"axis": 0}), LinearRegression()), "function"),
    ],
    ids=["the batch's mean", "sums along the batch"],
)
def test_a_step_that_uses_other_rows_disables_batching(tmp_path: Path, estimator: Any, reason: str) -> None:
    """The parts of the model show it; with `on`, which trusts the parts, its predictions do."""
    model = loaded_sklearn(tmp_path, estimator)
    assert not model.row_batching.enabled
    assert reason in model.row_batching.reason
    forced = loaded(tmp_path / "model", "on")
    assert not forced.row_batching.enabled
    assert "depends on other rows" in forced.row_batching.reason


def test_random_predictions_disable_batching(tmp_path: Path) -> None:
    """A model that draws random numbers would draw others for another batch."""
    model = loaded_sklearn(tmp_path, DummyClassifier(strategy="stratified", random_state=3), target=CLASSES)
    assert not model.row_batching.enabled
    assert "DummyClassifier" in model.row_batching.reason


@pytest.mark.parametrize(
    ("model", "batching", "enabled"),
    [
        (models.Sums(), "auto", False),
        (models.Sums(), "on", True),
        (models.Sums(), "off", False),
        (models.Centred(), "auto", False),
        (models.Centred(), "on", False),
        (models.Echo(), "on", False),
    ],
)
def test_python_models(tmp_path: Path, model: PythonModel, batching: Batching, enabled: bool) -> None:
    """Nothing is known of them: only `on` enables batching, unless predictions for a sample differ."""
    assert loaded_python(tmp_path, model, batching).row_batching.enabled is enabled


def test_synthetic_rows_replace_a_missing_example(tmp_path: Path) -> None:
    """A model whose columns are numbers can be checked without an input example."""
    folder = models.save_sklearn(
        tmp_path / "model", LinearRegression().fit(FRAME, TARGET), FRAME, with_example=False
    )
    assert loaded(folder).row_batching.enabled


def test_a_failing_body_fails_alone(tmp_path: Path) -> None:
    """Of a hundred, the two that make the model raise or exit are left out, with few others."""
    model = loaded_python(tmp_path, models.Picky(), "on")
    assert model.row_batching.enabled, model.row_batching.reason
    values = [float(value) for value in range(100)]
    values[13], values[77] = -500.0, 5000.0
    replies = model.predict_merged(rows(*values))
    left_out = set(range(100)) - set(replies)
    assert {13, 77} <= left_out
    assert len(left_out) <= 6
    assert all(json.loads(replies[number].body) == [values[number] + 1.0] for number in replies)


def test_invalid_bodies_cost_no_call_of_the_model(tmp_path: Path) -> None:
    """They are found without a call, so that one client's mistakes do not slow other requests."""
    model = loaded_sklearn(tmp_path, ElasticNet(alpha=0.1))
    calls: list[int] = []

    def predict(table: Table) -> Any:
        frame = to_frame(table, model._spec)
        calls.append(len(frame))
        return np.zeros(len(frame))

    batcher = RowBatcher(model._spec, predict)
    jobs = [split(FRAME[number % 40 : number % 40 + 1]) for number in range(100)]
    jobs[20], jobs[60] = split(FRAME[["a", "b"]][:1]), split(FRAME[:1].astype(object).assign(c="x"))
    assert set(range(100)) - set(batcher.predict(jobs)) == {20, 60}
    assert calls == [98]


def test_too_few_predictions_disable_batching(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No request gets another's prediction, later requests are predicted alone, and an error is logged."""
    model = loaded_python(tmp_path, models.Short(), "on")
    assert model.row_batching.enabled, model.row_batching.reason
    assert model.predict_merged(rows(*range(9))) == {}
    assert model.predict_merged(rows(1, 2)) == {}
    assert "one entry per row" in caplog.text


@pytest.mark.parametrize("batching", ["auto", "on", "off"])
async def test_no_request_affects_another(opened: Opened, tmp_path: Path, batching: Batching) -> None:
    """A model that subtracts the mean of its rows gets 200 requests at once: each has its own mean."""
    key = ModelKey("centred", "1", "f")
    folder = models.save(tmp_path / "centred", models.Centred(), signature=models.NUMBERS)
    source = Files(key, folder, batching=batching)
    async with opened() as pool:
        await load(pool, source)
        frames = [pd.DataFrame({"a": [float(n), n + 2.0], "b": [0.0, n]}) for n in range(200)]
        replies = await asyncio.gather(*(pool.predict(key, split(frame)) for frame in frames))
    for frame, reply in zip(frames, replies, strict=True):
        sums = (frame["a"] + frame["b"]).to_numpy()
        assert json.loads(reply.body) == pytest.approx((sums - sums.mean()).tolist())
