"""Proves that a rate is one over all gateway processes, and what clients see of it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Process, Start

BURST = 30
LIMITS = {"GATEWAY_RATE": "1/h", "GATEWAY_BURST": str(BURST), "GATEWAY_PROCESSES": "3"}


async def ask(gateway: Process) -> int:
    """Ask on a new connection, which leads to any of the processes; return the status."""
    async with aiohttp.ClientSession() as client, client.get(f"{gateway.url}/version") as response:
        headers = response.headers
        assert headers["RateLimit-Policy"] == f'"default";q={BURST};w={BURST * 3600}'
        if response.status == 429:
            assert (await response.json())["error_code"] == "REQUEST_LIMIT_EXCEEDED"
            assert headers["RateLimit"] == f'"default";r=0;t={headers["Retry-After"]}'
            assert 3500 < int(headers["Retry-After"]) <= 3600
        return response.status


async def ask_often(gateway: Process, times: int) -> Counter[int]:
    """Ask on many connections at once; return how often there was each status."""
    return Counter(await asyncio.gather(*(ask(gateway) for _ in range(times))))


@pytest.mark.slow
async def test_a_rate_is_one_over_all_processes(start: Start) -> None:
    """As many requests as the burst are answered, wherever they lead; a process that dies gives none back."""
    gateway = start(preload="none", **LIMITS)
    assert gateway.url, gateway.log()
    assert await ask_often(gateway, BURST - 10) == {200: BURST - 10}
    before = gateway.gateway_pids()
    os.kill(next(iter(before)), signal.SIGKILL)
    await until(lambda: len(gateway.gateway_pids()) == 3 and gateway.gateway_pids() != before)
    assert await ask_often(gateway, 60) == {200: 10, 429: 50}
    async with aiohttp.ClientSession() as client:
        for _ in range(20):
            async with client.get(f"{gateway.url}/health/live") as response:
                assert response.status == 200
                assert "RateLimit" not in response.headers


@pytest.mark.slow
async def test_one_connection_gets_the_whole_rate(start: Start) -> None:
    """A client that keeps its connection, and so its process, is not limited to a part of it."""
    gateway = start(preload="none", **LIMITS)
    async with aiohttp.ClientSession() as client:
        for number in range(BURST + 5):
            async with client.get(f"{gateway.url}/version") as response:
                assert response.status == (200 if number < BURST else 429)
                left = max(0, BURST - 1 - number)
                assert response.headers["RateLimit"].startswith(f'"default";r={left};t=')
