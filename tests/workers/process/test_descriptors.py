"""A worker that has ended leaves nothing open, without help of the garbage collector."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

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


@pytest.fixture
def gc_disabled() -> Iterator[None]:
    """Only reference counts free objects."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.serial
@pytest.mark.usefixtures("gc_disabled")
async def test_a_dead_worker_leaves_no_descriptor_open(
    files: Callable[[str], Files], opened: Callable[..., AbstractAsyncContextManager[Pool]]
) -> None:
    """Measures descriptors: after three workers were killed and replaced, no more are open than before."""
    process = psutil.Process()
    async with opened() as pool:
        await load(pool, files("commands"))
        await pool.predict(key("commands"), Job(models.body(do=["x"])))
        before = process.num_fds()
        for starts in range(2, 5):
            (pid,) = pool._slots.loaded[key("commands")].group.pids
            os.kill(pid, signal.SIGKILL)
            await until(lambda n=starts: pool.counters.value(WORKER_STARTS, "commands", "1") == n)  # type: ignore[misc] # bound so
            await pool.predict(key("commands"), Job(models.body(do=["x"])))
        await until(lambda: process.num_fds() <= before)
