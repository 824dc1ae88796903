"""The soak over a fleet from its beginning to its end."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Final

import aiohttp

from tests.soak import report as words
from tests.soak.fleet import faults, measure
from tests.soak.fleet.phases import PhasedAsking, Phases
from tests.soak.fleet.report import FleetOutcome, progress
from tests.soak.fleet.scene import COUNTERS, FleetScene
from tests.soak.fleet.stage import fleet_stage
from tests.soak.ledger import Ledger
from tests.soak.load import Load
from tests.soak.meanings import Meanings
from tests.soak.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.soak.fleet.stage import FleetStage
    from tests.soak.options import Options

_NEVER_CROWDED: Final = 10**6
_REST_SECONDS: Final = 2.0


class FleetSoak:
    """One run on a stage: every model asked, load with one fault after the other, and what is left."""

    def __init__(self, set_up: FleetStage, options: Options, *, stop: asyncio.Event) -> None:
        """`stop` ends the load early, and everything in order."""
        self._stage = set_up
        self._options = options
        self._stop = stop
        self._rng = Random(options.seed)  # noqa: S311 - a course to be run again, no secret
        meanings = Meanings(patience=options.patience)
        self._registry = Registry(set_up.mlflow, set_up.artifacts, meanings=meanings, options=options)
        ledgers = [Ledger(places=_NEVER_CROWDED, overloaded=lambda: False) for _ in set_up.gateways]
        phases = Phases()
        self._asking = [
            PhasedAsking(
                session,
                self._registry,
                url=gateway.process.url,
                meanings=meanings,
                ledger=ledger,
                phases=phases,
            )
            for gateway, session, ledger in zip(set_up.gateways, set_up.sessions, ledgers, strict=True)
        ]
        self._loads = [
            Load(asking, self._registry, meanings=meanings, options=options, rng=self._rng)
            for asking in self._asking
        ]
        self._scene = FleetScene(set_up, self._registry, [*self._asking], ledgers, options, self._rng)
        self.outcome = FleetOutcome(options, [asking.tallies for asking in self._asking], phases)

    async def run(self) -> None:
        """All of it; the outcome tells."""
        await self._registry.make_all()
        await self._scene.well()
        await self._asked("before")
        words.say("every model answered once; waiting until they are unloaded again")
        self.outcome.before = await measure.settled(self._stage)
        began = monotonic()
        async with AsyncExitStack() as stack:
            for load in self._loads:
                await stack.enter_async_context(load.on())
            while not self._stop.is_set() and monotonic() - began < self._options.seconds:
                await self._round(began)
        self.outcome.seconds = monotonic() - began
        self.outcome.counters = {name: await self._scene.counted(name) for name in COUNTERS}
        words.say("the load is over; every model is asked once more")
        await self._asked("after")
        self.outcome.after = await measure.settled(self._stage, wanted=self.outcome.before)
        self.outcome.problems += measure.grown(self.outcome.before, self.outcome.after)
        await self._ended()

    async def _round(self, began: float) -> None:
        """All faults in any order, while there is time."""
        for fault in self._rng.sample(faults.ALL, len(faults.ALL)):
            left = self._options.seconds - (monotonic() - began)
            if self._stop.is_set() or left <= 0:
                return
            words.say(f"{progress(left, self.outcome)}; now: {fault.__name__.replace('_', ' ')}")
            await self._strike(fault)
            await asyncio.sleep(_REST_SECONDS)

    async def _strike(self, fault: Callable[[FleetScene], Awaitable[None]]) -> None:
        told = self.outcome.wrong
        with self.outcome.phases.during(fault.__name__):
            try:
                await fault(self._scene)
                await self._scene.well()
            except TimeoutError:
                self.outcome.problems.append(f"{fault.__name__}: all was not well again in time")
            except (AssertionError, aiohttp.ClientError, OSError, ValueError) as error:
                self.outcome.problems.append(f"{fault.__name__}: {error!r}")
        if self.outcome.wrong > told:
            words.say(f"  {self.outcome.wrong - told} answers that nothing explains")

    async def _asked(self, when: str) -> None:
        for number, load in enumerate(self._loads):
            silent = await load.ask_all()
            self.outcome.problems += [f"gateway {number}: {name} did not answer {when}" for name in silent]

    async def _ended(self) -> None:
        """End all in order, gateways first."""
        for member in self._stage.members:
            if member is not self._stage.stranger:
                await member.leave()
            self.outcome.problems += member.problems


async def run_fleet(folder: Path, options: Options, *, stop: asyncio.Event | None = None) -> FleetOutcome:
    """A whole soak over a fleet in an empty folder; `stop` ends it early."""
    async with fleet_stage(folder, options) as set_up:
        soak = FleetSoak(set_up, options, stop=stop or asyncio.Event())
        await soak.run()
        return soak.outcome
