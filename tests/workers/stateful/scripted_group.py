"""Worker groups and pools in virtual time, whose processes a test scripts."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import psutil
import pytest

from tests.workers.conftest import key
from tests.workers.stateful.scripted import InlineExecutor, ScriptedForkServer, ScriptedSpawn
from tests.workers.stateful.virtual_time import VirtualTimeLoop
from workers.metrics import Counters
from workers.pool import pool as pools
from workers.pool import worker_starts
from workers.process import launcher
from workers.protocol.messages import ModelSource
from workers.scheduler.worker_group import WorkerGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workers.errors import ModelLoadError
    from workers.limits import PoolLimits
    from workers.process.forkserver import ForkServer


@contextmanager
def scripted_workers() -> Iterator[tuple[VirtualTimeLoop, ScriptedForkServer]]:
    """Yield a loop and a fork server that groups and pools start their workers from.

    At the end, no descriptor is left open and no exception was logged.
    """
    before = psutil.Process().num_fds()
    loop, forkserver = VirtualTimeLoop(), ScriptedForkServer()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launcher, "Spawn", ScriptedSpawn)
        patch.setattr(pools, "ForkServer", lambda *_, **__: forkserver)
        patch.setattr(worker_starts, "ThreadPoolExecutor", lambda *_, **__: InlineExecutor())
        logger = logging.getLogger("workers")
        logger.addHandler(forkserver)
        try:
            yield loop, forkserver
        finally:
            logger.removeHandler(forkserver)
            for process in forkserver.started:
                loop.call(process.disconnect)
            loop.cancel_all()
            loop.close()
    assert psutil.Process().num_fds() == before
    assert not forkserver.logged_exceptions


async def start_group(
    forkserver: ScriptedForkServer,
    limits: PoolLimits,
    *,
    on_failed: Callable[[WorkerGroup, ModelLoadError], None],
    on_idle: Callable[[], None],
) -> WorkerGroup:
    """Return a group whose workers have loaded their model."""
    group = WorkerGroup(
        ModelSource(key("scripted"), "/nowhere"),
        limits,
        forkserver=cast("ForkServer", forkserver),
        spawn_executor=InlineExecutor(),
        on_failed=on_failed,
        on_idle=on_idle,
        counters=Counters(),
    )
    await group.start()
    return group
