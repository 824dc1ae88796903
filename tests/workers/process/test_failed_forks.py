"""A start that fails ends neither the fork server nor the other workers."""

from __future__ import annotations

import os
import resource
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support import models
from tests.support.forkserver import another_forkserver, open_descriptors
from tests.workers.conftest import key, load
from workers.errors import SystemResourcesExhausted
from workers.limits import PoolLimits
from workers.pool.pool import Pool
from workers.protocol.messages import Job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.workers.conftest import Files

    Opened = Callable[..., AbstractAsyncContextManager[Pool]]
    Lookup = Callable[[str], Files]

SUMS, TENS = key("sums"), key("tens")


class Forks:
    """A switch by which the forks of a new fork server fail or work again."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def fail(self) -> None:
        self._mark.touch()

    def work(self) -> None:
        self._mark.unlink()


@pytest.fixture
def forks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Forks:
    """The switch that `few_processes` in the fork server of `opened_with_switch` obeys."""
    mark = tmp_path / "no-more-processes"
    monkeypatch.setenv("NO_MORE_PROCESSES", str(mark))
    return Forks(mark)


@asynccontextmanager
async def opened_with_switch(*, workers: int = 1) -> AsyncIterator[Pool]:
    """A pool with a fork server of its own, whose forks can be made to fail."""
    with another_forkserver():
        pool = Pool(lambda: PoolLimits(workers_per_model=workers))
        pool._forkserver.entry_module = "tests.support.few_processes"
        await pool.open()
        try:
            yield pool
        finally:
            await pool.close(drain_seconds=0)


async def predict_sums(pool: Pool) -> bytes:
    """Return a prediction of the model that is loaded already."""
    return bytes((await pool.predict(SUMS, Job(models.body(a=[1.0], b=[2.0])))).body)


@pytest.mark.slow
async def test_a_fork_that_fails(files: Lookup, forks: Forks) -> None:
    """The load fails for lack of resources, can be repeated at once, and affects nothing else."""
    async with opened_with_switch(workers=2) as pool:
        await load(pool, files("sums"))
        pid, workers = pool._forkserver.pid, pool._slots.loaded[SUMS].group.pids
        before = open_descriptors(pool._forkserver)
        forks.fail()
        for _ in range(3):
            with pytest.raises(SystemResourcesExhausted):
                await load(pool, files("tens"))
            assert pool.status(TENS).state == "cold"
        assert open_descriptors(pool._forkserver) == before
        assert pool.spawn_health.failures
        assert await predict_sums(pool) == b"[3.0]"
        forks.work()
        await load(pool, files("tens"))
        assert pool._forkserver.pid == pid
        assert pool._slots.loaded[SUMS].group.pids == workers


@pytest.mark.slow
async def test_a_replacement_that_cannot_be_forked(files: Lookup, forks: Forks) -> None:
    """It is tried again until a process can be started, and the waiting request is answered then."""
    async with opened_with_switch() as pool:
        await load(pool, files("sums"))
        forks.fail()
        psutil.Process(pool._slots.loaded[SUMS].group.pids[0]).kill()
        await pool.spawn_health.failing.wait()
        forks.work()
        assert await predict_sums(pool) == b"[3.0]"


@pytest.mark.parametrize("spare", range(0, 20, 3))
async def test_a_probe_without_descriptors(opened: Opened, files: Lookup, spare: int) -> None:
    """However few are left, a start that cannot be made ends nothing else."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with opened() as pool:
        await load(pool, files("sums"))
        pid = pool._forkserver.pid
        resource.setrlimit(resource.RLIMIT_NOFILE, (_limit(spare), hard))
        try:
            await pool.probe_spawn()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await load(pool, files("tens"))
        assert pool._forkserver.pid == pid
        assert await predict_sums(pool) == b"[3.0]"


def _limit(spare: int) -> int:
    """Return the limit that leaves `spare` descriptors to open."""
    taken = {int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208 - the names are needed
    free = [number for number in range(max(taken) + spare + 2) if number not in taken]
    return free[spare]


async def test_a_terminals_signals_do_not_reach_the_fork_server(opened: Opened, files: Lookup) -> None:
    """It leads a process group: a hang-up that the gateway ignores does not end its workers."""
    async with opened() as pool:
        await load(pool, files("sums"))
        pid = pool._forkserver.pid
        assert pid is not None
        assert os.getpgid(pid) == pid
