"""What a gateway's /metrics shows, read with Prometheus' own parser."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import Metric

    from tests.support.gateways import Gateway

PATIENCE_SECONDS = 60.0


class Shown:
    """One page."""

    def __init__(self, page: str) -> None:
        self.families: list[Metric] = list(text_string_to_metric_families(page))

    def of(self, name: str, **labels: str) -> float:
        """The sum of all samples of that name that have these labels, whatever others."""
        return sum(
            sample.value
            for family in self.families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


async def shown(gateway: Gateway) -> Shown:
    """The page now."""
    async with gateway.get("/metrics") as answer:
        assert answer.status == 200
        return Shown(await answer.text())


async def until(gateway: Gateway, holds: Callable[[Shown], bool]) -> Shown:
    """The page as soon as that holds of it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            page = await shown(gateway)
            if holds(page):
                return page
            await asyncio.sleep(0.05)
