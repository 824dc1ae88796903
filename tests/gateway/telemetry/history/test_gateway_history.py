"""Proves that what a gateway serves is in its history."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.api.keys import COMPONENTS
from tests.support.gateways import Gateway, gateway_at, invoke
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("registered")]


async def next_step(gateway: Gateway) -> None:
    """Wait until the gateway has read the next step."""
    assert gateway.app is not None
    history = gateway.app[COMPONENTS].history
    before = history.snapshot()["times"][-1:]
    await until(lambda: history.snapshot()["times"][-1:] != before)


@pytest.mark.slow
async def test_predictions_and_memory(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """A model that answers and fails is there with its requests, errors and memory; health checks are not."""
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        await next_step(gateway)  # so that the totals before the first request are known
        path = "/model/api-sums/1/invocation"
        answers = await asyncio.gather(*(invoke(gateway, path) for _ in range(10)))
        assert {status for status, _ in answers} == {200}
        assert (await invoke(gateway, "/model/api-broken/1/invocation"))[0] == 424
        async with gateway.get("/health/live") as answer:
            assert answer.status == 200
        await next_step(gateway)
        await next_step(gateway)
        assert gateway.app is not None
        found = gateway.app[COMPONENTS].history.snapshot()
        sums, broken = found["models"]["api-sums"], found["models"]["api-broken"]
        assert sum(sums["requests_by_minute"]) == sum(sums["versions"]["1"]["requests_by_minute"]) == 10
        assert (sums["errors"], broken["errors"], broken["error_ratio"]) == (0, 1, 1.0)
        assert sums["p95_ms"] > 0
        assert broken["p95_ms"] is None
        assert sum(found["requests"]["2xx"]) > 0
        assert sum(found["requests"]["4xx"]) > 0
        assert max(part for part in found["latency_ms"]["p99"] if part is not None) > 0
        assert found["memory"]["models"]["api-sums"][-1] > 0
        assert found["memory"]["base"][-1] > 0
