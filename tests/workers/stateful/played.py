"""A crew on a stage: its processes are played by the test, in a time that passes only when the test waits."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import psutil
import pytest

from tests.workers.conftest import key
from tests.workers.stateful.clockwork import Clockwork
from tests.workers.stateful.scripted import AtOnce, Scripted, Stage
from workers.metrics import Counters
from workers.pool import pool as pools
from workers.protocol.messages import ModelSource
from workers.scheduler import worker_group
from workers.scheduler.worker_group import WorkerGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workers.errors import ModelLoadError
    from workers.limits import PoolLimits
    from workers.process.forkserver import ForkServer


@contextmanager
def theatre() -> Iterator[tuple[Clockwork, Stage]]:
    """A loop, and a stage on which crews find their workers; in the end no descriptor is left.

    A pool that is made here has its workers there too.
    """
    before = psutil.Process().num_fds()
    loop, stage = Clockwork(), Stage()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker_group, "ProcessWorker", Scripted)
        patch.setattr(pools, "ForkServer", lambda *_, **__: stage)
        patch.setattr(pools, "ThreadPoolExecutor", lambda *_, **__: AtOnce())
        logger = logging.getLogger("workers")
        logger.addHandler(stage)
        try:
            yield loop, stage
        finally:
            logger.removeHandler(stage)
            for process in stage.started:
                loop.do(process.hang_up)
            loop.clear()
            loop.close()
    assert psutil.Process().num_fds() == before
    assert not stage.troubles


async def opened(
    stage: Stage,
    limits: PoolLimits,
    *,
    broken: Callable[[WorkerGroup, ModelLoadError], None],
    idle: Callable[[], None],
) -> WorkerGroup:
    """A crew whose workers are warm."""
    crew = WorkerGroup(
        ModelSource(key("played"), "/nowhere"),
        limits,
        forkserver=cast("ForkServer", stage),
        spawn_executor=AtOnce(),
        on_failed=broken,
        on_idle=idle,
        counters=Counters(),
    )
    await crew.start()
    return crew
