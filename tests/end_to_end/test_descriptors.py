"""Proves that a gateway outlives the end of its file descriptors."""

from __future__ import annotations

import asyncio
import json
import resource
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import aiohttp
import psutil
import pytest

from tests.wire_clients import LIVE, SECONDS, bare

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.end_to_end.conftest import Process
    from tests.wire_clients import Bare

BODY = {"inputs": [{"a": 1.0, "b": 2.0}]}
FEW = 200
FLOOD = 600


def limit(gateway: Process, number: int) -> None:
    """Leave the running gateway's own process so many descriptors; what it starts is another matter."""
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (number, number))


async def predict(gateway: Process, name: str = "api-sums") -> tuple[int, Any]:
    """Status and JSON of a prediction, over a connection of its own."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{gateway.url}/model/{name}/1/invocation", json=BODY) as answer,
    ):
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


async def test_a_flood_of_connections(start: Callable[..., Process]) -> None:
    """Those with requests are served on, the idle ones make room for new ones; it is told once, at no cost."""
    gateway = start(GATEWAY_MAX_LOADED_MODELS="1", GATEWAY_LOG_FORMAT="json")
    assert (await predict(gateway))[0] == 200
    limit(gateway, FEW)
    process = psutil.Process(gateway.pid)
    async with AsyncExitStack() as stack:
        old = await stack.enter_async_context(bare(gateway.url))
        assert await old.send(LIVE)
        assert await old.status() == 200
        import time; t=time.time(); await flood(gateway, stack); print("flood took", time.time()-t)
        spent = sum(process.cpu_times()[:2])
        for _ in range(30):
            await old.send(LIVE)
            assert await old.status() == 200
            await asyncio.sleep(0.1)
        assert sum(process.cpu_times()[:2]) - spent < 1.5  # a busy loop would take three seconds
        await works(gateway)
        assert (await predict(gateway))[0] == 200
    await works(gateway)
    lines = [json.loads(line) for line in gateway.log()]
    told = [line for line in lines if "connections" in line["message"]]
    assert 1 <= len(told) <= 2
    assert not [line for line in lines if line["level"] == "ERROR"]


async def test_a_worker_that_finds_no_descriptor(start: Callable[..., Process]) -> None:
    """It is the gateway's trouble, 503, and not remembered of the model; the warm one serves on."""
    gateway = start()
    assert (await predict(gateway))[0] == 200
    process = psutil.Process(gateway.pid)
    status, answer = 0, None
    for spare in range(1, 40):
        limit(gateway, max(int(name.name) for name in _descriptors(process)) + 1 + spare)
        status, answer = await predict(gateway, "api-tens")
        if status == 200:
            break
        assert status == 503, (spare, answer)
        assert (await predict(gateway))[0] == 200, f"with {spare} descriptors the warm model was lost"
    assert status == 200


def _descriptors(process: psutil.Process) -> list[Any]:
    from pathlib import Path

    return list(Path(f"/proc/{process.pid}/fd").iterdir())
