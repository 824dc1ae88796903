"""Proves that queue, latency and memory stay bounded under ten times the load that a model can serve."""

from __future__ import annotations

import asyncio
import os
from time import monotonic
from typing import TYPE_CHECKING

import aiohttp
import psutil
import pytest

from tests.support.figures import note
from tests.support.gateways import BODY
from tests.support.http_clients import ClientResults, clients, post_commands

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Start

_QUEUE = 64  # this many clients fill the queue, and none is refused
_MANY = 10 * _QUEUE
_SLEEP = 0.01  # of the model: it serves a hundred requests a second at most
_SECONDS = float(os.environ.get("GATEWAY_TEST_OVERLOAD_SECONDS", "12"))
_WORK = f"sleep {_SLEEP}"


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.timeout(300)
async def test_ten_times_the_load(start: Start) -> None:
    """Admitted requests wait no longer than with a full queue; surplus ones are refused at once.

    Measures latencies, requests a second, and the memory of the gateway.
    """
    gateway = start(preload="lean", GATEWAY_MAX_QUEUE=str(_QUEUE))
    process = psutil.Process(gateway.pid)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(gateway.url, connector=connector) as session:
        await post_commands(session, "x")
        await _predict_other_model(session)
        async with clients(session, _QUEUE, _WORK) as calm:
            await asyncio.sleep(5)
        memory = process.memory_info().rss
        others: list[float] = []
        async with clients(session, _MANY, _WORK, pause=0.5) as flood:
            ends = monotonic() + _SECONDS
            while monotonic() < ends:
                others.append(await _predict_other_model(session))
                await asyncio.sleep(0.05)
            grown = process.memory_info().rss - memory
        async with clients(session, _QUEUE, _WORK) as after:
            await asyncio.sleep(4)
    settled = after.right[0][0] + 1.0
    note(
        "ten times the load",
        seconds=_SECONDS,
        offered_per_second=(len(flood.right) + len(flood.refused)) / _SECONDS,
        admitted_per_second=len(flood.right) / _SECONDS,
        calm_p99=calm.quantile(0.99),
        admitted_p99=flood.quantile(0.99),
        calm_p99_in_gateway=calm.server_quantile(0.99),
        admitted_p99_in_gateway=flood.server_quantile(0.99),
        refused=len(flood.refused),
        memory_grown_mib=grown / 2**20,
        other_model_longest=max(others),
        calm_per_second=_rate(calm),
        after_p99=after.quantile(0.99, since=settled),
        after_per_second=_rate(after),
    )
    assert flood.wrong == calm.wrong == after.wrong == []
    assert calm.refused == []
    assert len(flood.refused) > len(flood.right)
    assert flood.statuses() == {503}
    assert all(int(headers["Retry-After"]) >= 1 for _, headers, _ in flood.refused)
    assert {answer["error_code"] for _, _, answer in flood.refused} == {"TEMPORARILY_UNAVAILABLE"}
    assert flood.server_quantile(0.99) < 3 * calm.server_quantile(0.99)
    assert len(flood.right) / _SECONDS > _rate(calm) / 3
    assert grown < 64 * 2**20
    assert max(others) < 10
    assert _rate(after) > _rate(calm) / 3


def _rate(results: ClientResults) -> float:
    """Return the right responses a second, from the first to the last."""
    return len(results.right) / (results.right[-1][0] - results.right[0][0])


async def _predict_other_model(session: aiohttp.ClientSession) -> float:
    """Send a request for another model, and return its seconds."""
    began = monotonic()
    headers = {"Content-Type": "application/json"}
    async with session.post("/model/api-sums/1/invocation", data=BODY, headers=headers) as response:
        assert response.status == 200
        assert (await response.json())["predictions"] == [3.0, 7.0]
    return monotonic() - began


@pytest.mark.slow
@pytest.mark.serial
async def test_a_request_that_would_wait_too_long_is_refused(start: Start) -> None:
    """If the queue would take longer than the time-out, a request fails at once; admitted ones are answered.

    Measures how many of 120 slow requests are answered within the time-out.
    """
    gateway = start(preload="lean", GATEWAY_REQUEST_TIMEOUT_SECONDS="5")
    async with aiohttp.ClientSession(gateway.url, connector=aiohttp.TCPConnector(limit=0)) as session:
        for _ in range(3):  # so that the gateway knows how long a request takes
            await post_commands(session, "sleep 0.2")
        answers = await asyncio.gather(*(post_commands(session, "sleep 0.2") for _ in range(120)))
    statuses = [status for status, _, _ in answers]
    assert statuses.count(504) <= 2
    assert statuses.count(503) > 50
    assert statuses.count(200) > 10
    waits = [int(headers["Retry-After"]) for status, headers, _ in answers if status == 503]
    assert min(waits) >= 1
