"""What the fork server imports affects how fast a model loads, but not its predictions or its isolation."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.support import forkserver_report, models
from tests.support.forkserver import running
from tests.support.waiting import until
from tests.workers.conftest import Files, key, load
from workers.environment import NO_MLFLOW_URI
from workers.limits import PoolLimits, Preload
from workers.pool.pool import Pool
from workers.protocol.messages import ARROW, CSV, Job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    Lookup = Callable[[str], Files]

FRAME = pd.DataFrame(np.random.default_rng(3).normal(size=(20, 3)), columns=["a", "b", "c"])
TARGET = FRAME["a"] * 2 - FRAME["c"]
INCOMPLETE = "tests.support.incomplete_preload"
MISSING = "Could not preload a_missing_package"
IMPORTED: dict[Preload, set[str]] = {
    "full": {"mlflow", "pandas", "pyarrow", "sklearn"},
    "lean": {"mlflow", "pandas", "pyarrow"},
    "none": set(),
}


@pytest.fixture(scope="module", params=list(IMPORTED))
def preload(request: pytest.FixtureRequest) -> Preload:
    """Each preload."""
    chosen: Preload = request.param
    return chosen


@pytest.fixture(scope="module")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved scikit-learn pipeline."""
    pipeline = make_pipeline(StandardScaler(), LinearRegression()).fit(FRAME, TARGET)
    return models.save_sklearn(tmp_path_factory.mktemp("preload") / "regression", pipeline, FRAME)


@asynccontextmanager
async def opened(preload: Preload, *, entry_module: str | None = None) -> AsyncIterator[Pool]:
    """An open pool with this preload, or with another entry module in its place."""
    pool = Pool(PoolLimits, preload=preload)
    if entry_module is not None:
        pool._forkserver.entry_module = entry_module
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close(drain_seconds=0)


def split(frame: pd.DataFrame) -> bytes:
    """Return a body with these rows."""
    data = {"columns": list(frame.columns), "data": frame.to_numpy().tolist()}
    return json.dumps({"dataframe_split": data}).encode()


async def predict(pool: Pool, name: str, job: Job) -> Any:
    """Return the predictions of a JSON response."""
    return orjson.loads((await pool.predict(key(name), job)).body)


@pytest.mark.slow
async def test_predictions_do_not_depend_on_the_preload(
    files: Lookup, regression: Path, preload: Preload
) -> None:
    """A scikit-learn model, alone and in batches; Python models in several formats and as a stream.

    Models can make MLflow's spans, whether the fork server has imported MLflow or not.
    """
    expected = LinearRegression().fit(FRAME, TARGET).predict(FRAME).tolist()
    async with opened(preload) as pool:
        await asyncio.gather(
            load(pool, Files(key("regression"), regression)),
            load(pool, files("streams")),
            load(pool, files("sums")),
        )
        row_batching = pool.status(key("regression")).row_batching
        assert row_batching is not None
        assert row_batching.enabled
        assert await predict(pool, "regression", Job(split(FRAME))) == pytest.approx(expected)
        rows = (predict(pool, "regression", Job(split(FRAME[row : row + 1]))) for row in range(len(FRAME)))
        assert [row[0] for row in await asyncio.gather(*rows)] == pytest.approx(expected)
        numbers = models.body(a=[1.0, 2.0], b=[10.0, 20.0])
        assert await predict(pool, "sums", Job(numbers)) == [11.0, 22.0]
        assert await predict(pool, "sums", Job(b"a,b\n1,10\n2,20\n", CSV)) == [11.0, 22.0]
        assert (await pool.predict(key("sums"), Job(numbers, accept=ARROW))).content_type == ARROW
        stream = await pool.stream(key("streams"), Job(models.body(do=["say a b"])))
        assert [orjson.loads(chunk) async for chunk in stream] == ["a", "b"]
        stream.close()
        assert await predict(pool, "streams", Job(models.body(do=["trace x"]))) == [True]


async def test_the_fork_server_is_set_up(preload: Preload) -> None:
    """It imports what it should and no more, leads a process group, and silences MLflow."""
    with running(preload=preload) as server:
        state = await asyncio.to_thread(server.call, forkserver_report.report)
    assert {"mlflow", "pandas", "pyarrow", "sklearn"} & set(state["modules"]) == IMPORTED[preload]
    assert state["complete"]
    assert state["group"]
    assert state["environment"]["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert state["environment"]["MLFLOW_TRACKING_URI"] == NO_MLFLOW_URI


@pytest.mark.parametrize(
    ("entry_module", "complete"),
    [
        ("workers.runtime.preload.lean", True),
        (INCOMPLETE, False),
        ("a_module_that_does_not_exist", False),
    ],
)
async def test_a_worker_reports_an_incomplete_preload(
    files: Lookup, entry_module: str, complete: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Its model is loaded all the same, and the log has the names of what is missing."""
    async with opened("lean", entry_module=entry_module) as pool:
        await load(pool, files("sums"))
        assert pool._slots.loaded[key("sums")].group.load_report.preloaded is complete
        assert await predict(pool, "sums", Job(models.body(a=[1.0], b=[2.0]))) == [3.0]
        await until(lambda: (MISSING in caplog.text) is (entry_module == INCOMPLETE))
