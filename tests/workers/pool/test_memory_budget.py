"""Proves which models are evicted for memory, which stay, and what is too large, over real processes.

The tests marked `serial` measure the PSS of this process, of its fork server and of all workers.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from tests.support import models
from tests.support.models import body
from tests.support.process_memory import taken, workers
from tests.support.waiting import until
from tests.workers.conftest import NO_WALL, Files, key, load
from tests.workers.pool.calls import COMMANDS, command, predict, running
from workers.errors import CapacityExceeded, ModelLoadError, ModelNotLoaded
from workers.limits import PoolLimits
from workers.metrics import MODEL_UNLOADS
from workers.pool import process_memory
from workers.pool.memory_budget import MemoryBudget
from workers.process.forkserver import ForkServer
from workers.protocol.messages import Job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import psutil

    from tests.workers.pool.calls import Lookup, Opened
    from workers.pool.pool import Pool
    from workers.scheduler.worker_group import WorkerGroup

pytestmark = pytest.mark.skipif(not process_memory.is_supported(), reason="the system does not report PSS")

_MIB = 2**20
_SIZE = 100  # MiB that each heavy model holds, beside the 25 or so of its process


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Lookup:
    """A function that returns the files of a heavy model under any name."""
    base = tmp_path_factory.mktemp("heavy")
    folder = models.save(base / "heavy", models.Heavy(_SIZE), signature=models.NUMBERS)
    return lambda name: Files(key(name), folder)


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of a model four times as heavy."""
    base = tmp_path_factory.mktemp("larger")
    folder = models.save(base / "larger", models.Heavy(4 * _SIZE), signature=models.NUMBERS)
    return Files(key("larger"), folder)


@pytest.fixture
def others() -> set[psutil.Process]:
    """The workers of other pools in this process, which have budgets of their own."""
    return workers()


@asynccontextmanager
async def budget_for(count: float, opened: Opened, heavy: Lookup, **values: float) -> AsyncIterator[Pool]:
    """A pool whose budget is enough for `count` heavy models beside the base memory."""
    async with opened(memory_bytes=2**60) as measuring:
        for name in ("first", "second"):
            await load(measuring, heavy(name))
        await measuring._budget.measure()
        report = measuring.memory_report()
    budget = report.base_bytes + count * report.model_bytes[key("second")]
    async with opened(memory_bytes=int(budget), **values) as pool:
        yield pool


async def add(pool: Pool, name: str, a: float = 1.0) -> object:
    """Have a heavy model answer `a`; if `a` is larger than its MiB, it grows to that size."""
    return await predict(pool, name, Job(body(a=[a], b=[0.0])))


@pytest.mark.serial
async def test_the_least_recently_used_model_is_evicted(
    opened: Opened, heavy: Lookup, others: set[psutil.Process]
) -> None:
    """With memory for three, a fourth replaces the least recently used, and the PSS of all fits."""
    async with budget_for(3.5, opened, heavy) as pool:
        for name in "abc":
            await load(pool, heavy(name))
            await add(pool, name)
        await add(pool, "a")
        await load(pool, heavy("d"))
        assert {loaded.name for loaded in pool.statuses()} == {"a", "c", "d"}
        unloads = [pool.counters.value(MODEL_UNLOADS, "b", "1", reason) for reason in ("memory", "capacity")]
        assert sum(unloads) == 1
        report = pool.memory_report()
        assert report.budget_bytes is not None
        assert taken(fork_server=pool._forkserver.pid, without=others) <= report.budget_bytes
        assert all(_SIZE * _MIB < size < 2 * _SIZE * _MIB for size in report.model_bytes.values())


@pytest.mark.serial
async def test_pinned_and_busy_models_stay(opened: Opened, heavy: Lookup, files: Lookup) -> None:
    """By their measured PSS only the idle model is evicted; if none is, a further load fails."""
    async with budget_for(2.9, opened, heavy, request_seconds=90.0) as pool:
        await load(pool, files("commands"))
        for name in ("pinned", "idle"):
            await load(pool, heavy(name))
            await add(pool, name)
        pool.pin(key("pinned"))
        busy = asyncio.create_task(pool.predict(COMMANDS, command("sleep 80")))
        await running(pool)
        await load(pool, heavy("new"))
        assert {loaded.name for loaded in pool.statuses()} == {"commands", "pinned", "new"}
        busy.cancel()
        pool.pin(key("new"))
        pool.pin(COMMANDS)
        with pytest.raises(CapacityExceeded, match="memory"):
            await load(pool, heavy("idle"))
        assert await add(pool, "pinned", 3.0) == [3.0]


@pytest.mark.serial
async def test_a_model_that_never_fits(opened: Opened, heavy: Lookup, larger: Files) -> None:
    """Its measured PSS exceeds the budget: the error has both sizes, and later loads evict no other model."""
    async with budget_for(2.5, opened, heavy, load_retry_seconds=0.001) as pool:
        await load(pool, heavy("a"))
        await add(pool, "a")
        for _ in range(3):
            with pytest.raises(ModelLoadError, match=r"takes \d+ MiB, more than the \d+ MiB"):
                await load(pool, larger)
            await until(lambda: pool.status(larger.key).state == "cold")
        assert (larger.entered, larger.left) == (1, 1)
        assert pool.is_loaded(key("a"))


@pytest.mark.serial
async def test_a_model_that_grows(opened: Opened, heavy: Lookup) -> None:
    """The pool measures the PSS of a model that grows in use, and evicts idle models for it."""
    async with budget_for(3.0, opened, heavy, measure_interval_seconds=0.1) as pool:
        for name in ("grows", "idle"):
            await load(pool, heavy(name))
            await add(pool, name)
        async with asyncio.timeout(60):
            while pool.is_loaded(key("idle")):
                await add(pool, "grows", 2.5 * _SIZE)
        assert pool.is_loaded(key("grows"))
        await load(pool, heavy("idle"))
        assert not pool.is_loaded(key("grows"))
        await load(pool, heavy("grows"))
        assert await add(pool, "grows", 2.0) == [2.0]


async def test_a_worker_that_dies_while_its_model_waits_for_memory(
    opened: Opened, files: Lookup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it cannot be replaced, the load fails with the reason, and no slot is taken."""
    folder = models.save(tmp_path / "model", models.Broken(f"later {tmp_path / 'loaded'}"))
    async with opened(memory_bytes=2**60, wall=NO_WALL) as pool:
        await load(pool, files("commands"))
        busy = asyncio.create_task(pool.predict(COMMANDS, command("sleep 50")))
        await running(pool)
        # Not measured: the memory that this long-lived process frees meanwhile could be enough.
        monkeypatch.setattr(pool._budget, "is_exceeded", lambda: True)
        call = asyncio.create_task(load(pool, Files(key("breaks"), folder)))
        await until(lambda: bool(pids_of(pool, "breaks")))
        group = next(group for group in pool._slots.groups() if group.source.key.name == "breaks")
        os.kill(group.pids[0], signal.SIGKILL)
        await until(lambda: group.failure is not None)
        monkeypatch.undo()
        pool._slots.changed.set()
        with pytest.raises(ModelLoadError):
            await call
        assert pool.status(key("breaks")).state == "failed"
        busy.cancel()


def pids_of(pool: Pool, name: str) -> list[int]:
    return [pid for group in pool._slots.groups() if group.source.key.name == name for pid in group.pids]


@pytest.mark.serial
@pytest.mark.slow
async def test_no_request_fails_as_models_come_and_go(
    opened: Opened, heavy: Lookup, others: set[psutil.Process]
) -> None:
    """Four clients use eight models with memory for three: all are answered, and the PSS stays in budget."""
    async with budget_for(3.5, opened, heavy) as pool:
        loads = {name: asyncio.Lock() for name in "abcdefgh"}

        async def request(name: str) -> object:
            while True:
                try:
                    return await add(pool, name, 2.0)
                except ModelNotLoaded:
                    async with loads[name]:
                        await load(pool, heavy(name))

        async def client(first: int) -> None:
            for turn in range(8):
                assert await request("abcdefgh"[(first + 3 * turn) % 8]) == [2.0]

        await asyncio.gather(*map(client, range(4)))
        assert 2 <= len(pool.statuses()) <= 4
        report = pool.memory_report()
        assert report.budget_bytes is not None
        assert taken(fork_server=pool._forkserver.pid, without=others) <= report.budget_bytes * 1.05


async def test_a_model_that_is_loading_counts_once() -> None:
    """It counts as its estimate, or as the memory of its processes if that is more."""
    loading = SimpleNamespace(source=SimpleNamespace(key=key("loading")), memory_bytes=0)
    unloading = SimpleNamespace(source=loading.source, memory_bytes=7 * _MIB)
    groups = cast("list[WorkerGroup]", [loading, unloading])
    limits = PoolLimits(memory_bytes=2**40)
    budget = MemoryBudget(lambda: limits, forkserver=ForkServer(), groups=lambda: groups)
    budget.reserve(key("loading"))
    estimate = budget.estimated_bytes(key("loading"))
    counted = []
    for loading.memory_bytes in (0, estimate // 2, 2 * estimate):
        counted.append(budget.used_bytes - unloading.memory_bytes)
    assert counted == [estimate, estimate, 2 * estimate]
    budget.release(key("loading"))
    assert budget.used_bytes == loading.memory_bytes + unloading.memory_bytes
