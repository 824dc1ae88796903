"""Experiments of thousands of runs, from a server that makes them up: bounded, shared, little kept."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from gateway.catalog.run_reader import RunReader
from gateway.errors import TooManyRuns
from gateway.mlflow_client import MlflowClient
from gateway.settings import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE = 1000
HISTORY = '[{"artifact_path": "model", "utc_time_created": "2024-01-01 00:00:00.000000"}]'


def run(experiment: str, number: int) -> dict[str, Any]:
    """Run `number` of an experiment; those of an odd number have a model."""
    history = [{"key": "mlflow.log-model.history", "value": HISTORY}] if number % 2 else []
    own = [{"key": "team", "value": "cellar"}, {"key": "mlflow.note.content", "value": "A note."}]
    return {
        "info": {
            "run_id": f"{experiment}-{number:06}",
            "experiment_id": experiment,
            "status": "FINISHED",
            "start_time": number // 10,
        },
        "data": {
            "metrics": [{"key": "rmse", "value": number % 100}],
            "params": [{"key": "depth", "value": "7"}],
            "tags": [*own, *history],
        },
    }


class Many:
    """Answers searches for runs; `counts` is how many each experiment has. Later pages wait for `open`."""

    def __init__(self, **counts: int) -> None:
        self._runs = {name: [run(name, number) for number in range(count)] for name, count in counts.items()}
        self.open = asyncio.Event()
        self.open.set()
        self.asked: Counter[str] = Counter()
        self.waiting: set[str] = set()
        self.two_wait = asyncio.Event()

    async def search(self, request: web.Request) -> web.Response:
        """A page of the experiments' runs."""
        body = await request.json()
        names, start = body["experiment_ids"], int(body.get("page_token", "0"))
        self.asked["+".join(names)] += 1
        if start and not self.open.is_set():
            self.waiting.add(names[0])
            if len(self.waiting) == 2:
                self.two_wait.set()
            await self.open.wait()
        runs = [run for name in names for run in self._runs[name]]
        page: dict[str, Any] = {"runs": runs[start : start + PAGE]}
        if start + PAGE < len(runs):
            page["next_page_token"] = str(start + PAGE)
        return web.json_response(page)


@asynccontextmanager
async def reading(many: Many, *, most: int = 100_000) -> AsyncIterator[RunReader]:
    """What reads the runs of `many` over HTTP."""
    app = web.Application()
    app.router.add_post("/api/2.0/mlflow/runs/search", many.search)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with MlflowClient(load({"MLFLOW_TRACKING_URI": url}).mlflow) as client:
            runs = RunReader(client, max_runs=most)
            yield runs
            await runs.close()
    finally:
        await runner.cleanup()


async def test_order_latest_and_best_of_many_pages() -> None:
    """Equal times are ordered by id; the best is that of a run with a model, and of equals the newest."""
    async with reading(Many(a=2500)) as runs:
        ledger = await runs.read_index("a")
        whole = await runs.read_runs("a")
    assert [mark.run_id for mark in ledger.entries] == [one.run_id for one in whole]
    assert [one.run_id for one in whole] == sorted(one.run_id for one in whole)
    assert ledger.latest_ready() == 2500
    best = ledger.extremes.map_keys(ledger.get_number)
    assert (best.metric_names, best.best("rmse", "min"), best.best("rmse", "max")) == (
        ["rmse"],
        (1.0, 2402),
        (99.0, 2500),
    )


async def test_of_each_run_only_what_is_told_is_kept() -> None:
    """Parameters and MLflow's own tags are most of a run, and nothing of a version is told by them."""
    async with reading(Many(a=2)) as runs:
        first, second = await runs.read_runs("a")
    assert (first.params, first.tags, first.metrics) == (
        {},
        {"team": "cellar", "mlflow.note.content": "A note."},
        {"rmse": 0.0},
    )
    assert [entry.path for entry in second.logged_models] == ["model"]


async def test_all_who_ask_meanwhile_share_a_read() -> None:
    """Nothing is kept of it: who asks later has it read anew."""
    many = Many(a=2500)
    async with reading(many) as runs:
        ledgers = await asyncio.gather(*(runs.read_index("a") for _ in range(10)))
        assert {len(ledger.entries) for ledger in ledgers} == {2500}
        assert many.asked == {"a": 3}
        await runs.read_index("a")
        assert many.asked == {"a": 6}


async def test_two_experiments_are_read_at_once() -> None:
    """Beyond their first page; an experiment of one page waits for nobody."""
    many = Many(a=2500, b=2500, c=2500, d=2500, small=3)
    many.open.clear()
    async with reading(many) as runs:
        asked = [asyncio.create_task(runs.read_index(name)) for name in "abcd"]
        await many.two_wait.wait()
        assert len((await runs.read_index("small")).entries) == 3
        assert len(many.waiting) == 2
        many.open.set()
        assert [len(ledger.entries) for ledger in await asyncio.gather(*asked)] == [2500] * 4


async def test_an_experiment_of_too_many_runs_is_told_and_left_alone() -> None:
    """It is not read again with every request; in a list it has no latest, and the others have theirs."""
    many = Many(big=2500, a=500, b=1001)
    async with reading(many, most=2000) as runs:
        for _ in range(3):
            with pytest.raises(TooManyRuns, match="more than 2000 runs"):
                await runs.read_index("big")
        with pytest.raises(TooManyRuns):
            await runs.read_runs("big")
        assert many.asked == {"big": 3}
        for _ in range(2):
            ledgers = await runs.read_indexes(["a", "big", "b"])
            latest = {name: ledger and ledger.latest_ready() for name, ledger in ledgers.items()}
            assert latest == {"a": 500, "big": None, "b": 1000}
        assert many.asked == {"big": 3, "a+big+b": 3, "a": 2, "b": 4}


async def test_closing_ends_a_read() -> None:
    """However long MLflow would take."""
    many = Many(a=2500, b=2500)
    many.open.clear()
    async with reading(many) as runs:
        asked = [asyncio.create_task(runs.read_index(name)) for name in "ab"]
        await many.two_wait.wait()
        await runs.close()
        await asyncio.wait(asked)
        assert all(isinstance(task.exception(), RuntimeError) for task in asked)
