"""Read a gateway's /metrics with the parser of Prometheus' client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.metrics.definitions import ACTIVE_PREDICTIONS, QUEUED_REQUESTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import Metric

    from tests.support.gateways import Gateway

PATIENCE_SECONDS = 60.0


class Shown:
    """The metrics of one response."""

    def __init__(self, page: str) -> None:
        self.families: list[Metric] = list(text_string_to_metric_families(page))

    def of(self, name: str, **labels: str) -> float:
        """Return the sum of all samples of that name with these labels; they may have more labels."""
        return sum(
            sample.value
            for family in self.families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


async def shown(gateway: Gateway) -> Shown:
    """Return the metrics now."""
    async with gateway.get("/metrics") as answer:
        assert answer.status == 200
        return Shown(await answer.text())


async def until(gateway: Gateway, holds: Callable[[Shown], bool]) -> Shown:
    """Return the metrics as soon as `holds` is true for them."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            page = await shown(gateway)
            if holds(page):
                return page
            await asyncio.sleep(0.05)


async def wait_for_predictions(url: str, number: int, *, model: str = "api-commands") -> None:
    """Wait until `number` requests of the loaded model wait or run in the gateway at `url`."""
    async with aiohttp.ClientSession() as client, asyncio.timeout(PATIENCE_SECONDS):
        while True:
            async with client.get(f"{url}/metrics") as response:
                page = Shown(await response.text())
            if (
                sum(page.of(spec.name, model=model) for spec in (ACTIVE_PREDICTIONS, QUEUED_REQUESTS))
                == number
            ):
                return
            await asyncio.sleep(0.02)
