"""OpenMP code neither hangs nor crashes in forked workers, however many are forked."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from tests.support import models
from tests.workers.conftest import Files, load
from workers.limits import PoolLimits
from workers.pool.pool import Pool
from workers.protocol.messages import Job, ModelKey

if TYPE_CHECKING:
    from pathlib import Path

FRAME = pd.DataFrame(np.random.default_rng(2).normal(size=(400, 4)), columns=list("abcd"))
TIMEOUT_SECONDS = 200.0


@pytest.mark.slow
async def test_gradient_boosting_in_many_workers(tmp_path: Path) -> None:
    """Six versions with two workers each, forked one after the other while others compute, all predict."""
    estimator = HistGradientBoostingRegressor(max_iter=20).fit(FRAME, FRAME["a"] * 2 - FRAME["c"])
    folder = models.save_sklearn(tmp_path / "model", estimator, FRAME)
    split = {"columns": [*"abcd"], "data": FRAME.to_numpy().tolist()}
    body = Job(json.dumps({"dataframe_split": split}).encode())
    expected = estimator.predict(FRAME)
    pool = Pool(lambda: PoolLimits(workers_per_model=2))
    await pool.open()
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            for version in range(6):
                key = ModelKey("boosted", str(version), "f")
                await load(pool, Files(key, folder))
                replies = await asyncio.gather(*(pool.predict(key, body) for _ in range(4)))
                for reply in replies:
                    assert np.allclose(orjson.loads(reply.body), expected)
    finally:
        await pool.close(drain_seconds=0)
