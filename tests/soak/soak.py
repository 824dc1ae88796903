"""The soak from its beginning to its end."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Final

from tests.soak import measure, report
from tests.soak.asking import Asking
from tests.soak.ledger import Ledger
from tests.soak.load import Load
from tests.soak.meanings import Meanings
from tests.soak.registry import Registry
from tests.soak.report import Outcome
from tests.soak.scene import Scene
from tests.soak.stage import stage
from tests.soak.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.soak.options import Options
    from tests.soak.stage import Stage

_SAMPLE_SECONDS: Final = 10.0
_END_SECONDS: Final = 60.0


class Soak:
    """One run on a stage: warm-up, load and trouble, and the look at what is left."""

    def __init__(self, set_up: Stage, options: Options, *, stop: asyncio.Event) -> None:
        """`stop` ends the load early, and everything in order."""
        rng = Random(options.seed)  # noqa: S311 - a course to be run again, no secret
        self._stage = set_up
        self._options = options
        self._stop = stop
        self._meanings = Meanings(patience=options.patience)
        self._ledger = Ledger(places=options.max_loaded - 4)
        self._registry = Registry(set_up.mlflow, set_up.artifacts, meanings=self._meanings, options=options)
        asking = Asking(
            set_up.session,
            self._registry,
            url=set_up.gateway.url,
            meanings=self._meanings,
            ledger=self._ledger,
        )
        self._load = Load(asking, self._registry, meanings=self._meanings, options=options, rng=rng)
        self._trouble = Trouble(
            Scene(
                set_up,
                self._registry,
                asking,
                self._meanings,
                self._ledger,
                options,
                rng,
                lambda: self._load.popular,
            )
        )
        self.outcome = Outcome(options, asking.tallies, self._trouble.struck)

    async def run(self) -> None:
        """All of it; the outcome tells."""
        await self._registry.make_all()
        await self._asked("before")
        report.say("every model answered once; waiting until they are unloaded again")
        self.outcome.before = await measure.settled(self._stage)
        began = monotonic()
        async with self._load.on(), self._trouble.on(), self._watched(began):
            try:
                async with asyncio.timeout(self._options.seconds):
                    await self._stop.wait()
            except TimeoutError:
                pass
        self.outcome.seconds = monotonic() - began
        self.outcome.problems += self._trouble.problems
        report.say("the load is over; every model is asked once more")
        await self._asked("after")
        self.outcome.after = await measure.settled(self._stage, wanted=self.outcome.before)
        self.outcome.problems += self.outcome.after.grown(self.outcome.before)
        self.outcome.problems += [f"left in the cache: {name}" for name in measure.litter(self._stage.cache)]
        await self._ended()

    async def _asked(self, when: str) -> None:
        silent = await self._load.ask_all()
        self.outcome.problems += [f"{name} did not answer {when} the soak" for name in silent]

    async def _ended(self) -> None:
        gateway = self._stage.gateway
        gateway.send(signal.SIGTERM)
        status = await asyncio.to_thread(gateway.status, _END_SECONDS)
        left = await asyncio.to_thread(gateway.left)
        if status:
            self.outcome.problems.append(f"the gateway ended with status {status}")
        if left:
            self.outcome.problems.append(f"processes outlived the gateway: {left}")

    @asynccontextmanager
    async def _watched(self, began: float) -> AsyncIterator[None]:
        """Tell how it goes every few seconds, while the context lasts."""
        task = asyncio.create_task(self._watch(began))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self, began: float) -> None:
        told = 0
        while True:
            await asyncio.sleep(_SAMPLE_SECONDS)
            now = monotonic() - began
            self.outcome.samples.append((now, await measure.measured(self._stage)))
            report.say(report.progress(self._options.seconds - now, self.outcome))
            complaints = self.outcome.tallies.complaints
            for complaint in complaints[told:]:
                report.say(f"  {complaint}")
            told = len(complaints)


async def run(folder: Path, options: Options, *, stop: asyncio.Event | None = None) -> Outcome:
    """A whole soak in an empty folder; `stop` ends it early."""
    async with stage(folder, options) as set_up:
        soak = Soak(set_up, options, stop=stop or asyncio.Event())
        await soak.run()
        return soak.outcome
