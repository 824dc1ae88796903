"""A worker group with one scripted worker, for single tests beside the machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.workers.stateful.scripted_group import scripted_workers, start_group
from workers.limits import PoolLimits

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from tests.workers.stateful.scripted import ScriptedForkServer
    from tests.workers.stateful.virtual_time import VirtualTimeLoop
    from workers.scheduler.worker_group import WorkerGroup

LIMITS = PoolLimits(request_seconds=10.0)


class GroupHarness:
    """A group with one worker, and how often it reported that it is idle."""

    def __init__(self, loop: VirtualTimeLoop, forkserver: ScriptedForkServer) -> None:
        self.loop = loop
        self.forkserver = forkserver
        self.idle_count = 0
        self.group: WorkerGroup = loop.run(
            start_group(forkserver, LIMITS, on_failed=lambda *_: None, on_idle=self._count_idle)
        )

    def _count_idle(self) -> None:
        self.idle_count += 1

    def kill_worker(self, *next_starts: str) -> None:
        """End the worker's process; `next_starts` is how the next starts go."""
        self.forkserver.start_outcomes.extend(next_starts)
        self.loop.call(self.forkserver.alive[0].die)
        self.loop.advance(0.01)

    def is_done_within(self, closing: asyncio.Task[None], seconds: float) -> bool:
        self.loop.advance(seconds)
        return closing.done()


@pytest.fixture
def harness() -> Iterator[GroupHarness]:
    """Yield a group that has loaded its model; close it at the end."""
    with scripted_workers() as (loop, forkserver):
        yield (group_harness := GroupHarness(loop, forkserver))
        loop.run(group_harness.group.close(drain_seconds=0.0))
