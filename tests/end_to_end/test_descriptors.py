"""Proves that a gateway continues to work when it runs out of file descriptors."""

from __future__ import annotations

import asyncio
import resource
from contextlib import AsyncExitStack
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import psutil
import pytest

from tests.support.raw_clients import LIVE, bare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.end_to_end.conftest import Process, Start
    from tests.support.raw_clients import Bare

FEW = 200
FLOOD = 600


def limit_descriptors(gateway: Process, number: int) -> None:
    """Set the limit of descriptors of the running gateway process; its workers keep theirs."""
    _, hard = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (number, hard))


def leave_descriptors(gateway: Process, spare: int) -> None:
    """Set the limit so that the gateway can open `spare` descriptors more than it has open now."""
    used = {int(each.name) for each in Path(f"/proc/{gateway.pid}/fd").iterdir()}
    free = (number for number in count() if number not in used)
    limit_descriptors(gateway, next(islice(free, spare, None)))


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that keeps its one connection."""
    connector = aiohttp.TCPConnector(limit=1, keepalive_timeout=600)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


async def predict(
    client: aiohttp.ClientSession, gateway: Process, name: str = "api-sums", **values: Any
) -> tuple[int, dict[str, Any]]:
    """Send a prediction of one row; return the status and the JSON of the response."""
    row = values or {"a": 1.0, "b": 2.0}
    async with client.post(f"{gateway.url}/model/{name}/1/invocation", json={"inputs": [row]}) as response:
        return response.status, await response.json()


async def flood(gateway: Process, stack: AsyncExitStack) -> list[Bare]:
    """Open many connections that send nothing."""
    return [await stack.enter_async_context(bare(gateway.url)) for _ in range(FLOOD)]


async def wait_until_served(gateway: Process) -> None:
    """Connect again and again until a new client gets a response."""
    async with asyncio.timeout(60):
        while True:
            async with bare(gateway.url) as client:
                if await client.send(LIVE) and await client.status() == 200:
                    return


@pytest.mark.slow
@pytest.mark.serial
async def test_a_flood_of_connections(client: aiohttp.ClientSession, start: Start) -> None:
    """Idle connections are closed for new ones, connections with requests are kept; the log says so once.

    Measures the CPU time of the gateway: it must not loop while no descriptor is free.
    """
    gateway = start(GATEWAY_MAX_LOADED_MODELS="1")
    assert (await predict(client, gateway))[0] == 200
    limit_descriptors(gateway, FEW)
    process = psutil.Process(gateway.pid)
    async with AsyncExitStack() as stack:
        old = await stack.enter_async_context(bare(gateway.url))
        assert await old.send(LIVE)
        assert await old.status() == 200
        await flood(gateway, stack)
        spent = sum(process.cpu_times()[:2])
        for _ in range(30):
            await old.send(LIVE)
            assert await old.status() == 200
            await asyncio.sleep(0.1)
        assert sum(process.cpu_times()[:2]) - spent < 1.5  # a busy loop would take three seconds
        await wait_until_served(gateway)
        assert (await predict(client, gateway))[0] == 200
    await wait_until_served(gateway)
    assert len(gateway.events("connection_limit_reached")) == 1
    assert len(gateway.events("connection_limit_left")) <= 1
    assert not [record for record in gateway.records() if record["level"] == "error"]


@pytest.mark.slow
async def test_a_worker_start_without_descriptors(client: aiohttp.ClientSession, start: Start) -> None:
    """The load of another model fails with 503 and is not remembered; the loaded model serves on."""
    gateway = start(preload="lean")
    assert (await predict(client, gateway))[0] == 200
    status, answer = 0, None
    for spare in range(1, 60, 3):
        leave_descriptors(gateway, spare)
        status, answer = await predict(client, gateway, "api-tens")
        if status == 200:
            break
        assert status == 503, (spare, answer)
        assert (await predict(client, gateway))[0] == 200, f"the model was lost with {spare} descriptors"
    assert status == 200


@pytest.mark.slow
async def test_a_worker_restart_without_descriptors(
    client: aiohttp.ClientSession, start: Start, tmp_path: Path
) -> None:
    """The request of a crashed worker waits, and is answered when there are descriptors again."""
    gateway = start(preload="lean", GATEWAY_WORKER_WALL="off")
    assert (await predict(client, gateway, "api-commands", do="x"))[0] == 200
    leave_descriptors(gateway, 3)
    request = asyncio.create_task(
        predict(client, gateway, "api-commands", do=f"die_once {tmp_path / 'died'}")
    )
    await gateway.wait_for("worker_restart_failed", times=3)
    assert not request.done()
    limit_descriptors(gateway, 1000)
    assert (await request)[0] == 200
