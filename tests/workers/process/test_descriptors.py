"""Proves that a worker that is gone has left nothing open, without help of the garbage collector."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING

import psutil

from tests.support import models
from tests.support.waiting import until
from tests.workers.conftest import key, load
from workers.metrics import WORKER_STARTS
from workers.protocol.messages import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from tests.workers.conftest import Files
    from workers.pool.pool import Pool

import pytest


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Nothing is collected but what nobody refers to."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
async def test_a_dead_worker_has_left_nothing_open(
    files: Callable[[str], Files], opened: Callable[..., AbstractAsyncContextManager[Pool]]
) -> None:
    """However often a worker is killed and replaced, as many descriptors are open as before."""
    here = psutil.Process()
    async with opened() as pool:
        await load(pool, files("commands"))
        await pool.predict(key("commands"), Job(models.body(do=["x"])))
        before = here.num_fds()
        for n in range(2, 5):
            (pid,) = pool._slots.loaded[key("commands")].group.pids
            os.kill(pid, signal.SIGKILL)
            await until(lambda n=n: pool.counters.value(WORKER_STARTS, "commands", "1") == n)  # type: ignore[misc] # bound so
            await pool.predict(key("commands"), Job(models.body(do=["x"])))
        await until(lambda: here.num_fds() <= before)
