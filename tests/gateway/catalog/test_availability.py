"""Proves that the gateway calls MLflow by itself until a call succeeds."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.catalog.availability import UpstreamAvailability
from gateway.errors import UpstreamUnavailable
from tests.support.waiting import until
from workers.metrics import Counters

if TYPE_CHECKING:
    import pytest


class Upstream:
    """An MLflow server that is down or up."""

    def __init__(self) -> None:
        self.availability = UpstreamAvailability(Counters())
        self.is_up = False
        self.probes = 0

    async def probe(self) -> None:
        self.probes += 1
        with self.availability.observe():
            if not self.is_up:
                raise UpstreamUnavailable("connection refused")


async def test_reconnecting(caplog: pytest.LogCaptureFixture) -> None:
    """It probes at the start and after an outage, and only then; at the start it logs each try."""
    caplog.set_level(logging.WARNING)
    upstream = Upstream()
    task = asyncio.create_task(upstream.availability.reconnect_forever(upstream.probe, initial_backoff=0.001))
    await until(lambda: upstream.probes >= 3)
    events = [vars(record)["event"] for record in caplog.records]
    assert events.count("mlflow_not_reached") >= 2
    upstream.is_up = True
    await until(lambda: upstream.availability.ever_reached)
    assert not upstream.availability.unavailable.is_set()
    caplog.clear()
    upstream.is_up = False
    before = upstream.probes
    try:
        await upstream.probe()
    except UpstreamUnavailable:
        await until(lambda: upstream.probes >= before + 3)
    upstream.is_up = True
    await until(lambda: upstream.availability.unavailable_reason is None)
    assert [vars(record)["event"] for record in caplog.records] == ["mlflow_calls_failing"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
