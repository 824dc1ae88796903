"""Proves that a gateway outlives the end of its file descriptors."""

from __future__ import annotations

import asyncio
import json
import resource
from contextlib import AsyncExitStack
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import psutil
import pytest

from tests.support.raw_clients import LIVE, SECONDS, bare
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.end_to_end.conftest import Process
    from tests.support.raw_clients import Bare

FEW = 200
FLOOD = 600


def limit(gateway: Process, number: int) -> None:
    """Let the running gateway's own process have so many descriptors; those that it started keep theirs."""
    _, hard = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (number, hard))


def leave(gateway: Process, spare: int) -> None:
    """Let it open so many more than it has open now."""
    used = {int(each.name) for each in Path(f"/proc/{gateway.pid}/fd").iterdir()}
    free = (number for number in count() if number not in used)
    limit(gateway, next(islice(free, spare, None)))


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that keeps its one connection."""
    connector = aiohttp.TCPConnector(limit=1, keepalive_timeout=600)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


async def predict(
    client: aiohttp.ClientSession, gateway: Process, name: str = "api-sums", **values: Any
) -> tuple[int, dict[str, Any]]:
    """Status and JSON of a prediction."""
    row = values or {"a": 1.0, "b": 2.0}
    async with client.post(f"{gateway.url}/model/{name}/1/invocation", json={"inputs": [row]}) as answer:
        return answer.status, await answer.json()


async def flood(gateway: Process, stack: AsyncExitStack) -> list[Bare]:
    """Many connections at once that ask for nothing."""
    return [await stack.enter_async_context(bare(gateway.url)) for _ in range(FLOOD)]


async def works(gateway: Process, seconds: float = SECONDS) -> None:
    """Until a new client is served."""
    async with asyncio.timeout(seconds):
        while True:
            async with bare(gateway.url) as client:
                if await client.send(LIVE) and await client.status() == 200:
                    return


async def test_a_flood_of_connections(client: aiohttp.ClientSession, start: Callable[..., Process]) -> None:
    """Those with requests are served on, the idle ones make room for new ones; it is told once."""
    gateway = start(GATEWAY_MAX_LOADED_MODELS="1", GATEWAY_LOG_FORMAT="json")
    assert (await predict(client, gateway))[0] == 200
    limit(gateway, FEW)
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
        await works(gateway)
        assert (await predict(client, gateway))[0] == 200
    await works(gateway)
    lines = [json.loads(line) for line in gateway.log()]
    told = [line for line in lines if "connections" in line["message"]]
    assert 1 <= len(told) <= 2
    assert not [line for line in lines if line["level"] == "ERROR"]


async def test_a_worker_that_finds_no_descriptor(
    client: aiohttp.ClientSession, start: Callable[..., Process]
) -> None:
    """It is the gateway's trouble, 503, and not remembered of the model; the warm one serves on."""
    gateway = start()
    assert (await predict(client, gateway))[0] == 200
    status, answer = 0, None
    for spare in range(1, 60, 3):
        leave(gateway, spare)
        status, answer = await predict(client, gateway, "api-tens")
        if status == 200:
            break
        assert status == 503, (spare, answer)
        assert (await predict(client, gateway))[0] == 200, f"with {spare} descriptors the warm model was lost"
    assert status == 200


async def test_a_lost_worker_that_finds_no_descriptor_for_its_successor(
    client: aiohttp.ClientSession, start: Callable[..., Process], tmp_path: Path
) -> None:
    """Its job waits, and is answered once there are descriptors again; the model is not to blame."""
    gateway = start()
    assert (await predict(client, gateway, "api-commands", do="sleep 0"))[0] == 200
    leave(gateway, 3)
    job = asyncio.create_task(predict(client, gateway, "api-commands", do=f"die_once {tmp_path / 'died'}"))
    await until(lambda: sum("did not restart" in line for line in gateway.log()) >= 3)
    assert not job.done()
    limit(gateway, 1000)
    assert (await job)[0] == 200
