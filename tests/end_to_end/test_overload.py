"""Ten times more load than a model can serve: a bounded queue, refusals at once, others unharmed."""

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
from tests.support.http_clients import Seen, clients, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.end_to_end.conftest import Process

_QUEUE = 64  # as many as keep the queue full, and none is refused
_MANY = 10 * _QUEUE
_SLEEP = 0.01  # of the model: it serves a hundred requests a second at most
_SECONDS = float(os.environ.get("GATEWAY_TEST_OVERLOAD_SECONDS", "12"))
_WORK = f"sleep {_SLEEP}"


@pytest.mark.timeout(300)
async def test_ten_times_too_much(start: Callable[..., Process]) -> None:
    """The admitted wait as with a full queue and nobody refused; memory and others stay as they were."""
    gateway = start(GATEWAY_MAX_QUEUE=str(_QUEUE))
    process = psutil.Process(gateway.pid)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(gateway.url, connector=connector) as session:
        await told(session, "x")
        await _other(session)
        async with clients(session, _QUEUE, _WORK) as calm:
            await asyncio.sleep(5)
        memory = process.memory_info().rss
        others: list[float] = []
        async with clients(session, _MANY, _WORK, pause=0.5) as flood:
            ends = monotonic() + _SECONDS
            while monotonic() < ends:
                others.append(await _other(session))
                await asyncio.sleep(0.05)
            grown = process.memory_info().rss - memory
        async with clients(session, _QUEUE, _WORK) as after:
            await asyncio.sleep(4)
    settled = after.right[0][0] + 1.0
    note(
        "ten times too much",
        seconds=_SECONDS,
        offered_per_second=(len(flood.right) + len(flood.refused)) / _SECONDS,
        admitted_per_second=len(flood.right) / _SECONDS,
        calm_p99=calm.quantile(0.99),
        admitted_p99=flood.quantile(0.99),
        calm_p99_inside=calm.quantile_inside(0.99),
        admitted_p99_inside=flood.quantile_inside(0.99),
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
    assert flood.quantile_inside(0.99) < 3 * calm.quantile_inside(0.99)
    assert len(flood.right) / _SECONDS > _rate(calm) / 3
    assert grown < 64 * 2**20
    assert max(others) < 10
    assert _rate(after) > _rate(calm) / 3


def _rate(seen: Seen) -> float:
    """Answers per second, from the first to the last."""
    return len(seen.right) / (seen.right[-1][0] - seen.right[0][0])


async def _other(session: aiohttp.ClientSession) -> float:
    """A request for another model; the seconds it took."""
    began = monotonic()
    headers = {"Content-Type": "application/json"}
    async with session.post("/model/api-sums/1/invocation", data=BODY, headers=headers) as answer:
        assert answer.status == 200
        assert (await answer.json())["predictions"] == [3.0, 7.0]
    return monotonic() - began


async def test_who_would_wait_too_long_is_refused(start: Callable[..., Process]) -> None:
    """With a long queue and a slow model the doomed are told at once, and the admitted are answered."""
    gateway = start(GATEWAY_REQUEST_TIMEOUT_SECONDS="5")
    async with aiohttp.ClientSession(gateway.url, connector=aiohttp.TCPConnector(limit=0)) as session:
        for _ in range(3):  # so that the pace is known
            await told(session, "sleep 0.2")
        answers = await asyncio.gather(*(told(session, "sleep 0.2") for _ in range(120)))
    statuses = [status for status, _, _ in answers]
    assert statuses.count(504) <= 2
    assert statuses.count(503) > 50
    assert statuses.count(200) > 10
    waits = [int(headers["Retry-After"]) for status, headers, _ in answers if status == 503]
    assert min(waits) >= 1
