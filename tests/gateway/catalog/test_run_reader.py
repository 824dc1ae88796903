"""Proves how experiments with thousands of runs are read, from a server that generates them."""

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
    """Return run `number` of an experiment; runs with an odd number have a model."""
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


class RunServer:
    """A handler of run searches; `counts` has the number of runs per experiment.

    All pages but the first wait for `open`. `calls` counts the calls per group of experiments.
    """

    def __init__(self, **counts: int) -> None:
        self._runs = {name: [run(name, number) for number in range(count)] for name, count in counts.items()}
        self.open = asyncio.Event()
        self.open.set()
        self.calls: Counter[str] = Counter()
        self.waiting: set[str] = set()
        self.two_wait = asyncio.Event()

    async def search(self, request: web.Request) -> web.Response:
        """Return a page of the experiments' runs."""
        body = await request.json()
        names, start = body["experiment_ids"], int(body.get("page_token", "0"))
        self.calls["+".join(names)] += 1
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
async def opened_reader(server: RunServer, *, max_runs: int = 100_000) -> AsyncIterator[RunReader]:
    """Open a reader of the runs of `server`, over HTTP."""
    app = web.Application()
    app.router.add_post("/api/2.0/mlflow/runs/search", server.search)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with MlflowClient(load({"MLFLOW_TRACKING_URI": url}).mlflow) as client:
            reader = RunReader(client, max_runs=max_runs)
            yield reader
            await reader.close()
    finally:
        await runner.cleanup()


async def test_order_latest_and_best_of_many_pages() -> None:
    """Runs with equal times are ordered by id. The best run has a model, and is the newest of equal ones."""
    async with opened_reader(RunServer(a=2500)) as reader:
        index = await reader.read_index("a")
        runs = await reader.read_runs("a")
    assert [entry.run_id for entry in index.entries] == [each.run_id for each in runs]
    assert [each.run_id for each in runs] == sorted(each.run_id for each in runs)
    assert index.latest_ready() == 2500
    best = index.extremes.map_keys(index.get_number)
    assert (best.metric_names, best.best("rmse", "min"), best.best("rmse", "max")) == (
        ["rmse"],
        (1.0, 2402),
        (99.0, 2500),
    )


async def test_only_the_fields_of_a_version_are_kept() -> None:
    """Parameters and MLflow's own tags, most of a run's bytes, are dropped."""
    async with opened_reader(RunServer(a=2)) as reader:
        first, second = await reader.read_runs("a")
    assert (first.params, first.tags, first.metrics) == (
        {},
        {"team": "cellar", "mlflow.note.content": "A note."},
        {"rmse": 0.0},
    )
    assert [entry.path for entry in second.logged_models] == ["model"]


async def test_concurrent_calls_share_a_read() -> None:
    """The result is not cached: a later call reads again."""
    server = RunServer(a=2500)
    async with opened_reader(server) as reader:
        indexes = await asyncio.gather(*(reader.read_index("a") for _ in range(10)))
        assert {len(index.entries) for index in indexes} == {2500}
        assert server.calls == {"a": 3}
        await reader.read_index("a")
        assert server.calls == {"a": 6}


async def test_two_experiments_are_read_at_once() -> None:
    """This limit is for later pages; an experiment of one page waits for no other."""
    server = RunServer(a=2500, b=2500, c=2500, d=2500, small=3)
    server.open.clear()
    async with opened_reader(server) as reader:
        tasks = [asyncio.create_task(reader.read_index(name)) for name in "abcd"]
        await server.two_wait.wait()
        assert len((await reader.read_index("small")).entries) == 3
        assert len(server.waiting) == 2
        server.open.set()
        assert [len(index.entries) for index in await asyncio.gather(*tasks)] == [2500] * 4


async def test_an_experiment_with_too_many_runs_is_rejected() -> None:
    """It is not read again by each request; in a list it has no latest version, unlike the others."""
    server = RunServer(big=2500, a=500, b=1001)
    async with opened_reader(server, max_runs=2000) as reader:
        for _ in range(3):
            with pytest.raises(TooManyRuns, match="more than 2000 runs"):
                await reader.read_index("big")
        with pytest.raises(TooManyRuns):
            await reader.read_runs("big")
        assert server.calls == {"big": 3}
        for _ in range(2):
            indexes = await reader.read_indexes(["a", "big", "b"])
            latest = {name: index and index.latest_ready() for name, index in indexes.items()}
            assert latest == {"a": 500, "big": None, "b": 1000}
        assert server.calls == {"big": 3, "a+big+b": 3, "a": 2, "b": 4}


async def test_closing_cancels_a_read() -> None:
    """Even if MLflow does not respond."""
    server = RunServer(a=2500, b=2500)
    server.open.clear()
    async with opened_reader(server) as reader:
        tasks = [asyncio.create_task(reader.read_index(name)) for name in "ab"]
        await server.two_wait.wait()
        await reader.close()
        await asyncio.wait(tasks)
        assert all(isinstance(task.exception(), RuntimeError) for task in tasks)
