"""Proves that each of several gateway processes reports the metrics of all, also of those that ended."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.support.commands import still_running
from tests.support.metrics_page import PATIENCE_SECONDS, Shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.end_to_end.conftest import Process, Start

PATH = "/model/api-commands/1/invocation"
REQUESTS = {"method": "POST", "route": "/model/{name}/{version}/invocation"}
# Each connection goes to either of two: the chance that 40 go to one is 1 in 500 thousand million.
MANY = 40


async def predict_often(gateway: Process) -> None:
    """Send many requests at once, each on a new connection."""

    async def predict() -> None:
        async with (
            aiohttp.ClientSession() as client,
            client.post(gateway.url + PATH, json={"inputs": [{"do": "x"}]}) as response,
        ):
            assert response.status == 200, await response.text()

    await asyncio.gather(*(predict() for _ in range(MANY)))


async def metrics(gateway: Process) -> Shown:
    """Return the metrics as one of the processes reports them."""
    async with aiohttp.ClientSession() as client, client.get(f"{gateway.url}/metrics") as response:
        assert response.status == 200
        return Shown(await response.text())


def predictions(page: Shown) -> float:
    return page.of("gateway_http_requests_total", **REQUESTS, code="200")


def processes(page: Shown, name: str) -> set[str]:
    """Return the numbers of the processes that have a sample of the gauge `name`."""
    samples = [sample for family in page.families for sample in family.samples if sample.name == name]
    return {sample.labels["process"] for sample in samples}


def responder(page: Shown) -> str:
    """Return the number of the process that sent the page: its own snapshot is the newest."""
    ages = {
        number: page.of("gateway_snapshot_age_seconds", process=number)
        for number in processes(page, "gateway_snapshot_age_seconds")
    }
    return min(ages, key=ages.__getitem__)


async def until(gateway: Process, holds: Callable[[Shown], bool]) -> list[Shown]:
    """Return the pages of both processes as soon as `holds` is true for both; no total may decrease."""
    most = 0.0
    latest: dict[str, Shown] = {}
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            page = await metrics(gateway)
            assert predictions(page) >= most
            most = predictions(page)
            latest[responder(page)] = page
            if len(latest) == 2 and all(map(holds, latest.values())):
                return list(latest.values())


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_each_process_reports_all(start: Start) -> None:
    """Counters are sums over the processes, gauges have one sample each; a killed process' counts remain.

    The models are in one more process, which alone has the gauges of models.
    """
    gateway = start(preload="lean", GATEWAY_PROCESSES="2")
    assert gateway.url, gateway.log()
    await predict_often(gateway)
    for page in await until(
        gateway, lambda page: predictions(page) == MANY and bool(processes(page, "gateway_workers"))
    ):
        for name in ("gateway_ready", "gateway_requests_in_flight"):
            assert processes(page, name) == {"1", "2"}, name
        for name in ("gateway_workers", "gateway_models_loaded", "gateway_memory_limit_bytes"):
            assert processes(page, name) == {"3"}, name
        for name in ("gateway_event_loop_lag_seconds", "process_open_fds", "process_resident_memory_bytes"):
            assert processes(page, name) == {"1", "2", "3"}, name
        assert page.of("gateway_process_starts_total") == 3
        assert page.of("gateway_worker_starts_total", model="api-commands") == 1
        assert page.of("gateway_prediction_duration_seconds_count", code="2xx") == MANY
        assert page.of("gateway_workers", model="api-commands", process="3") == 1

    victim = min(gateway.gateway_pids())
    os.kill(victim, signal.SIGKILL)
    assert await asyncio.to_thread(still_running, {victim}) == set()
    assert predictions(await metrics(gateway)) == MANY
    await until(gateway, lambda page: page.of("gateway_process_starts_total") == 4)
    await predict_often(gateway)
    await until(gateway, lambda page: predictions(page) == 2 * MANY)
    gateway.send(signal.SIGTERM)
    assert await gateway.exit_status() == 0
