"""What a fault of the fleet can lay its hands on, and how it waits until all is well again."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from tests.soak.fleet.stage import NODES
from tests.soak.ledger import Window
from tests.soak.questions import question

if TYPE_CHECKING:
    from random import Random

    from tests.soak.asking import Asking
    from tests.soak.fleet.stage import FleetStage
    from tests.soak.ledger import Ledger
    from tests.soak.options import Options
    from tests.soak.registry import Registry

COUNTERS: Final = ("node_losses", "node_retries", "node_spills", "node_moves")
_PAUSE_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class FleetScene:
    """The stage, the models, and for each gateway who asks it, and the book in which its faults are noted."""

    stage: FleetStage
    registry: Registry
    asking: list[Asking]
    ledgers: list[Ledger]
    options: Options
    rng: Random
    counted_before: Counter[str] = field(default_factory=Counter)

    async def gateway_away(self, number: int) -> Window:
        """Note what one gateway has counted, and that it alone answers nothing from now on."""
        for name in COUNTERS:
            self.counted_before[name] += await self._counted(name, number)
        window = Window("its gateway was killed", frozenset({0}), monotonic(), inf)
        return self.ledgers[number].open(window)

    async def well(self) -> None:
        """Wait until both gateways have links to all nodes, and answer. TimeoutError where they do not."""
        async with asyncio.timeout(self.options.patience):
            for number in range(len(self.stage.gateways)):
                while await self.connected(number) != NODES or not await self._answers(number):  # noqa: ASYNC110 - only an answer tells
                    await asyncio.sleep(_PAUSE_SECONDS)

    async def connected(self, number: int) -> int:
        """To how many nodes a gateway has links."""
        return int((await self._ready(number))["nodes"]["connected"])

    async def counted(self, name: str) -> int:
        """The sum of a counter over its labels and all gateways, also of their former processes."""
        found = [await self._counted(name, number) for number in range(len(self.stage.gateways))]
        return self.counted_before[name] + sum(found)

    async def _counted(self, name: str, number: int) -> int:
        pattern = re.compile(rf"^gateway_{name}_total(?:{{[^}}]*}})? ([0-9.e+]+)$", re.MULTILINE)
        async with self.stage.sessions[number].get("/metrics", headers={"Connection": "close"}) as answer:
            return round(sum(map(float, pattern.findall(await answer.text()))))

    async def _ready(self, number: int) -> Any:
        """What a gateway tells of its nodes; it has none while it does not answer."""
        try:
            async with self.stage.sessions[number].get("/health/ready") as answer:
                return await answer.json()
        except aiohttp.ClientConnectionError:
            return {"nodes": {"connected": 0}}

    async def _answers(self, number: int) -> bool:
        model = self.rng.choice(self.registry.of_kind("sums"))
        asked = question(model.name, "latest", kind=model.kind, rng=self.rng)
        return await self.asking[number].ask(asked)
