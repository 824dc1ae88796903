"""Proves what a gateway does at its limits of memory and of loaded models."""

from __future__ import annotations

import asyncio
import os
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.support.control_groups import join, memory_group
from tests.support.figures import note
from tests.support.gateways import BODY, gateway_at, invoke, pool_of
from tests.support.http_clients import clients, post_commands
from tests.support.process_memory import taken
from workers.metrics import MODEL_UNLOADS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.end_to_end.conftest import Process, Start
    from tests.support.mlflow_server import MlflowServer

pytestmark = [pytest.mark.slow, pytest.mark.serial]

_MIB = 2**20
_MODELS = int(os.environ.get("GATEWAY_TEST_MODELS", "40"))
_MAX_LOADED = max(2, _MODELS // 10)
_JSON = {"Content-Type": "application/json"}


@pytest.mark.timeout(300)
async def test_a_model_that_takes_all_memory(start: Start) -> None:
    """The kernel kills its worker twice, but neither the gateway nor the fork server; others are served.

    Fills the memory of a control group of 1 GiB.
    """
    with memory_group(1024 * _MIB) as group:
        gateway = start(preload="lean", preexec=partial(join, group))
        async with aiohttp.ClientSession(gateway.url) as session:
            assert (await post_commands(session, "x"))[0] == 200
            other = session.post("/model/api-sums/1/invocation", data=BODY, headers=_JSON)
            assert (await other).status == 200
            async with clients(session, 8) as results:
                status, _, answer = await post_commands(session, "eat 2000")
            assert (status, answer["error_code"]) == (500, "MODEL_ERROR")
            assert (results.wrong, results.refused) == ([], [])
            again = session.post("/model/api-sums/1/invocation", data=BODY, headers=_JSON)
            assert (await again).status == 200
        assert len(gateway.events("worker_exited")) >= 2
        note("model that takes all memory", others_answered=len(results.right), others_failed=0)
        gateway.end()


@pytest.mark.timeout(600)
async def test_more_models_than_may_be_loaded(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """Four clients request each model in turn: the least recently used are unloaded, and no request fails.

    Measures the memory of the gateway for a note.
    """
    names = await _register(mlflow_server, _MODELS)
    pinned = f"{names[0]}/1"
    async with gateway_at(
        mlflow_server.url,
        tmp_path,
        GATEWAY_MAX_LOADED_MODELS=str(_MAX_LOADED),
        GATEWAY_PINNED_MODELS=pinned,
        GATEWAY_MEMORY_BUDGET_BYTES=str(4096 * _MIB),
    ) as gateway:
        pool = pool_of(gateway.app)
        largest = 0
        turn = iter([*names, *names[: 2 * _MAX_LOADED]])

        async def client() -> None:
            nonlocal largest
            for name in turn:
                status, answer = await invoke(gateway, f"/model/{name}/1/invocation")
                assert status == 200, answer
                assert answer["predictions"] == [30.0, 70.0]
                assert len(pool.statuses()) <= _MAX_LOADED
                largest = max(largest, await asyncio.to_thread(taken))

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(client())
        assert pool.is_loaded(next(key for key in pool.statuses() if key.name == names[0]))
        unloaded = sum(times for (event, _), times in pool.counters.counts.items() if event is MODEL_UNLOADS)
        assert unloaded >= _MODELS - _MAX_LOADED
        note(
            "more models than may be loaded",
            models=_MODELS,
            max_loaded=_MAX_LOADED,
            failed=0,
            unloaded=unloaded,
            largest_mib=largest / _MIB,
            budget_mib=4096,
        )


@pytest.mark.timeout(300)
async def test_a_budget_for_a_few_models(mlflow_server: MlflowServer, start: Start) -> None:
    """If memory suffices for fewer models than may be loaded, models are unloaded to keep the budget.

    Measures the PSS of all processes of two gateways.
    """
    names = await _register(mlflow_server, 10)
    unlimited = start(preload="lean")
    await _predict(unlimited, names[0])
    budget = await asyncio.to_thread(taken, unlimited.pid) + 40 * _MIB
    gateway = start(preload="lean", GATEWAY_MEMORY_BUDGET_BYTES=str(budget))
    await _predict(gateway, *names, *names)
    async with asyncio.timeout(60):  # the gateway measures every five seconds
        while (used := await asyncio.to_thread(taken, gateway.pid)) >= budget * 1.05:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.5)
    unloaded = len(gateway.events("model_unloaded"))
    note("a budget for a few models", budget_mib=budget / _MIB, used_mib=used / _MIB, unloaded=unloaded)
    assert unloaded >= 10


async def _predict(gateway: Process, *names: str) -> None:
    async with aiohttp.ClientSession(gateway.url) as session:
        for name in names:
            async with session.post(f"/model/{name}/1/invocation", data=BODY, headers=_JSON) as response:
                assert response.status == 200


async def _register(server: MlflowServer, number: int) -> list[str]:
    """Register `number` models with the files of `api-tens`, and return their names."""
    source = await _call(server, "model-versions/get?name=api-tens&version=1", {}, "GET")
    uri = source["model_version"]["source"]
    prefix = f"copy-{uuid.uuid4().hex[:6]}"

    async def register(name: str) -> str:
        await _call(server, "registered-models/create", {"name": name})
        version = {"name": name, "source": uri, "model_id": uri.removeprefix("models:/")}
        await _call(server, "model-versions/create", version)
        return name

    return [await register(f"{prefix}-{index}") for index in range(number)]


async def _call(server: MlflowServer, path: str, body: dict[str, Any], method: str = "POST") -> Any:
    return await asyncio.to_thread(server.call, path, body, method=method)
