"""A crew with one worker on a stage, for what a machine found and a test tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.workers.stateful.played import opened, theatre
from workers.limits import PoolLimits

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from tests.workers.stateful.clockwork import Clockwork
    from tests.workers.stateful.scripted import Stage
    from workers.scheduler.worker_group import WorkerGroup

LIMITS = PoolLimits(request_seconds=10.0)


class Show:
    """A crew with one worker, and how often it told that it was idle."""

    def __init__(self, loop: Clockwork, stage: Stage) -> None:
        self.loop = loop
        self.stage = stage
        self.idles = 0
        self.crew: WorkerGroup = loop.run(opened(stage, LIMITS, broken=lambda *_: None, idle=self._note))

    def _note(self) -> None:
        self.idles += 1

    def lose_the_worker(self, *next_starts: str) -> None:
        """Its process ends; the next ones start as is said."""
        self.stage.plan.extend(next_starts)
        self.loop.do(self.stage.alive[0].die)
        self.loop.wait(0.01)

    def is_closed_within(self, closing: asyncio.Task[None], seconds: float) -> bool:
        self.loop.wait(seconds)
        return closing.done()


@pytest.fixture
def show() -> Iterator[Show]:
    """The crew, warm; closed in the end."""
    with theatre() as (loop, stage):
        yield (made := Show(loop, stage))
        loop.run(made.crew.close(drain_seconds=0.0))
