"""Proves that any of several gateway processes answers /metrics for all, also for those that are dead."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.support.commands import descendants, left, parent
from tests.support.metrics_page import PATIENCE_SECONDS, Shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.end_to_end.conftest import Process

PATH = "/model/api-commands/1/invocation"
REQUESTS = {"method": "POST", "route": "/model/{name}/{version}/invocation"}
# Each connection goes to either of two: the chance that 40 go to one is 1 in 500 thousand million.
MANY = 40


async def ask(gateway: Process) -> None:
    async with (
        aiohttp.ClientSession() as client,
        client.post(gateway.url + PATH, json={"inputs": [{"do": "x"}]}) as answer,
    ):
        assert answer.status == 200, await answer.text()


async def ask_often(gateway: Process) -> None:
    """On connections of their own."""
    await asyncio.gather(*(ask(gateway) for _ in range(MANY)))


async def page(gateway: Process) -> Shown:
    """As any of the processes shows it."""
    async with aiohttp.ClientSession() as client, client.get(f"{gateway.url}/metrics") as answer:
        assert answer.status == 200
        return Shown(await answer.text())


def answered(shown: Shown) -> float:
    return shown.of("gateway_http_requests_total", **REQUESTS, code="200")


def processes(shown: Shown, name: str) -> set[str]:
    """Which processes that gauge is shown of."""
    samples = [sample for family in shown.families for sample in family.samples if sample.name == name]
    return {sample.labels["process"] for sample in samples}


def freshest(shown: Shown) -> str:
    """The process that answered."""
    ages = {
        number: shown.of("gateway_snapshot_age_seconds", process=number)
        for number in processes(shown, "gateway_snapshot_age_seconds")
    }
    return min(ages, key=ages.__getitem__)


async def until(gateway: Process, holds: Callable[[Shown], bool]) -> list[Shown]:
    """The pages of both processes as soon as both are so; meanwhile no total becomes less."""
    most = 0.0
    latest: dict[str, Shown] = {}
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            shown = await page(gateway)
            assert answered(shown) >= most
            most = answered(shown)
            latest[freshest(shown)] = shown
            if len(latest) == 2 and all(map(holds, latest.values())):
                return list(latest.values())


@pytest.mark.timeout(300)
async def test_any_process_shows_all(start: Callable[..., Process]) -> None:
    """Sums of both, gauges of each; who is killed leaves its counts to the one that takes its place."""
    gateway = start(GATEWAY_PROCESSES="2")
    assert gateway.url, gateway.log()
    await ask_often(gateway)
    for shown in await until(gateway, lambda shown: answered(shown) == MANY):
        for name in ("gateway_ready", "process_open_fds", "process_resident_memory_bytes"):
            assert processes(shown, name) == {"1", "2"}, name
        assert shown.of("gateway_process_starts_total") == 2
        assert shown.of("gateway_worker_starts_total", model="api-commands") == 2
        assert shown.of("gateway_prediction_duration_seconds_count", code="2xx") == MANY
        assert shown.of("gateway_workers", model="api-commands", process="1") == 1

    victim = min(pid for pid in descendants(gateway.pid) if parent(pid) == gateway.pid)
    os.kill(victim, signal.SIGKILL)
    assert left({victim}) == set()
    assert answered(await page(gateway)) == MANY
    await until(gateway, lambda shown: shown.of("gateway_process_starts_total") == 3)
    await ask_often(gateway)
    await until(gateway, lambda shown: answered(shown) == 2 * MANY)
    gateway.send(signal.SIGTERM)
    assert await asyncio.to_thread(gateway.status) == 0
