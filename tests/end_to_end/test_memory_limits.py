"""Memory: what a control group allows, a model that takes all of it, and more models than room."""

from __future__ import annotations

import asyncio
import os
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from gateway.api.keys import COMPONENTS
from tests.support.control_groups import join, memory_group
from tests.support.figures import note
from tests.support.gateways import BODY, gateway_at, invoke
from tests.support.http_clients import clients, told
from tests.support.process_memory import taken
from workers.metrics import MODEL_UNLOADS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.end_to_end.conftest import Process
    from tests.support.mlflow_server import MlflowServer

_MIB = 2**20
_MODELS = int(os.environ.get("GATEWAY_TEST_MODELS", "40"))
_ROOM = max(2, _MODELS // 10)


@pytest.mark.timeout(300)
async def test_a_model_that_takes_all_memory(start: Callable[..., Process]) -> None:
    """The kernel ends its worker, twice, and neither the gateway nor the template; others are answered."""
    with memory_group(1024 * _MIB) as group:
        gateway = start(preexec=partial(join, group))
        async with aiohttp.ClientSession(gateway.url) as session:
            assert (await told(session, "x"))[0] == 200
            other = session.post("/model/api-sums/1/invocation", data=BODY, headers=_JSON)
            assert (await other).status == 200
            async with clients(session, 8) as seen:
                status, _, answer = await told(session, "eat 2000")
            assert (status, answer["error_code"]) == (500, "MODEL_ERROR")
            assert (seen.wrong, seen.refused) == ([], [])
            again = session.post("/model/api-sums/1/invocation", data=BODY, headers=_JSON)
            assert (await again).status == 200
        log = "\n".join(gateway.log())
        assert log.count("exited unexpectedly") >= 2
        note("model that takes all memory", others_answered=len(seen.right), others_failed=0)
        gateway.end()


@pytest.mark.timeout(600)
async def test_more_models_than_room(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """Each is asked in turn by several clients: the least recently used go, nobody fails, memory is kept."""
    names = await _registered(mlflow_server, _MODELS)
    pinned = f"{names[0]}/1"
    async with gateway_at(
        mlflow_server.url,
        tmp_path,
        GATEWAY_MAX_LOADED_MODELS=str(_ROOM),
        GATEWAY_PINNED_MODELS=pinned,
        GATEWAY_MEMORY_BUDGET_BYTES=str(4096 * _MIB),
    ) as gateway:
        pool = gateway.app[COMPONENTS].pool
        largest = 0
        turn = iter([*names, *names[: 2 * _ROOM]])

        async def client() -> None:
            nonlocal largest
            for name in turn:
                status, answer = await invoke(gateway, f"/model/{name}/1/invocation")
                assert status == 200, answer
                assert answer["predictions"] == [30.0, 70.0]
                assert len(pool.statuses()) <= _ROOM
                largest = max(largest, await asyncio.to_thread(taken))

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(client())
        assert pool.is_loaded(next(key for key in pool.statuses() if key.name == names[0]))
        went = sum(times for (event, _), times in pool.counters.counts.items() if event is MODEL_UNLOADS)
        assert went >= _MODELS - _ROOM
        note(
            "more models than room",
            models=_MODELS,
            room=_ROOM,
            failed=0,
            unloaded=went,
            largest_mib=largest / _MIB,
            budget_mib=4096,
        )


@pytest.mark.timeout(300)
async def test_a_budget_for_few(mlflow_server: MlflowServer, start: Callable[..., Process]) -> None:
    """With places for twenty but memory for a few, memory decides, and all processes keep to it."""
    names = await _registered(mlflow_server, 10)
    alone = start()
    await _ask(alone, names[0])
    budget = await asyncio.to_thread(taken, alone.pid) + 40 * _MIB
    gateway = start(GATEWAY_MEMORY_BUDGET_BYTES=str(budget))
    await _ask(gateway, *names, *names)
    await asyncio.sleep(6)  # one more look of the gateway's own
    at_the_end = await asyncio.to_thread(taken, gateway.pid)
    unloaded = sum("Unloaded model" in line for line in gateway.log())
    note("a budget for few", budget_mib=budget / _MIB, taken_mib=at_the_end / _MIB, unloaded=unloaded)
    assert at_the_end < budget * 1.05
    assert unloaded >= 10


async def _ask(gateway: Process, *names: str) -> None:
    async with aiohttp.ClientSession(gateway.url) as session:
        for name in names:
            async with session.post(f"/model/{name}/1/invocation", data=BODY, headers=_JSON) as answer:
                assert answer.status == 200


_JSON = {"Content-Type": "application/json"}


async def _registered(server: MlflowServer, number: int) -> list[str]:
    """So many registered models, all with the files of `api-tens`."""
    source = await _call(server, "model-versions/get?name=api-tens&version=1", {}, "GET")
    uri = source["model_version"]["source"]
    prefix = f"room-{uuid.uuid4().hex[:6]}"

    async def make(name: str) -> str:
        await _call(server, "registered-models/create", {"name": name})
        version = {"name": name, "source": uri, "model_id": uri.removeprefix("models:/")}
        await _call(server, "model-versions/create", version)
        return name

    return [await make(f"{prefix}-{index}") for index in range(number)]


async def _call(server: MlflowServer, path: str, body: dict[str, Any], method: str = "POST") -> Any:
    return await asyncio.to_thread(server.call, path, body, method=method)
