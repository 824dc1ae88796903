"""The memory budget over real processes: who gives way, who stays, and what is too large."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import orjson
import pytest

from tests.support import models
from tests.support.models import body
from tests.support.process_memory import taken, workers
from tests.support.waiting import until
from tests.workers.conftest import Files, key
from workers.errors import CapacityExceeded, ModelLoadError, ModelNotLoaded
from workers.metrics import MODEL_UNLOADS
from workers.pool import loading, process_memory, slots
from workers.pool.memory_budget import MemoryBudget
from workers.process.forkserver import ForkServer
from workers.protocol.messages import Job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    import psutil

    from workers.pool.pool import Pool
    from workers.scheduler.worker_group import WorkerGroup

    Opened = Callable[..., AbstractAsyncContextManager[Pool]]
    Lookup = Callable[[str], Files]

pytestmark = pytest.mark.skipif(not process_memory.is_supported(), reason="this system does not tell it")

_MIB = 2**20
_SIZE = 100  # MiB that each of these models holds, beside the 25 or so of its process


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Lookup:
    """The files of a heavy model under any name."""
    base = tmp_path_factory.mktemp("heavy")
    folder = models.save(base / "heavy", models.Heavy(_SIZE), signature=models.NUMBERS)
    return lambda name: Files(key(name), folder)


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of a model four times as heavy."""
    base = tmp_path_factory.mktemp("larger")
    return Files(
        key("larger"), models.save(base / "larger", models.Heavy(4 * _SIZE), signature=models.NUMBERS)
    )


@pytest.fixture
def others() -> set[psutil.Process]:
    """The workers of other pools of this process: theirs are budgets of their own."""
    return workers()


@asynccontextmanager
async def room_for(models_: float, opened: Opened, heavy: Lookup, **limits: float) -> AsyncIterator[Pool]:
    """A pool whose budget is for so many of the heavy models beside what is taken without any."""
    async with opened(memory_bytes=2**60) as measuring:
        for name in ("first", "second"):
            await measuring.load(key(name), heavy(name)())
        await measuring._slots.budget.measure()
        memory = measuring.memory_report()
    budget = memory.base_bytes + models_ * memory.model_bytes[key("second")]
    async with opened(memory_bytes=int(budget), **limits) as pool:
        yield pool


async def ask(pool: Pool, name: str, a: float = 1.0) -> object:
    return orjson.loads((await pool.predict(key(name), Job(body(a=[a], b=[0.0])))).body)


async def test_the_least_recently_used_gives_way(
    opened: Opened, heavy: Lookup, others: set[psutil.Process]
) -> None:
    """With memory for three, a fourth takes the place of whoever was asked least recently, and all fits."""
    async with room_for(3.5, opened, heavy) as pool:
        for name in "abc":
            await pool.load(key(name), heavy(name)())
            await ask(pool, name)
        await ask(pool, "a")
        await pool.load(key("d"), heavy("d")())
        assert {loaded.name for loaded in pool.statuses()} == {"a", "c", "d"}
        assert (
            pool.counters.value(MODEL_UNLOADS, "b", "1", "memory")
            + pool.counters.value(MODEL_UNLOADS, "b", "1", "room")
            == 1
        )
        memory = pool.memory_report()
        assert memory.budget_bytes is not None
        assert taken(without=others) <= memory.budget_bytes
        assert all(_SIZE * _MIB < size < 2 * _SIZE * _MIB for size in memory.model_bytes.values())


async def test_pinned_and_busy_models_stay(opened: Opened, heavy: Lookup, files: Lookup) -> None:
    """Only the one that is neither goes; where there is none, a further model finds no room."""
    async with room_for(2.9, opened, heavy, request_seconds=90.0) as pool:
        await pool.load(key("commands"), files("commands")())
        for name in ("pinned", "idle"):
            await pool.load(key(name), heavy(name)())
            await ask(pool, name)
        pool.pin(key("pinned"))
        busy = asyncio.create_task(pool.predict(key("commands"), Job(body(do=["sleep 80"]))))
        await asyncio.sleep(0.1)
        await pool.load(key("new"), heavy("new")())
        assert {loaded.name for loaded in pool.statuses()} == {"commands", "pinned", "new"}
        busy.cancel()
        pool.pin(key("new"))
        pool.pin(key("commands"))
        with pytest.raises(CapacityExceeded, match="memory"):
            await pool.load(key("idle"), heavy("idle")())
        assert await ask(pool, "pinned", 3.0) == [3.0]


async def test_a_model_that_never_fits(
    opened: Opened, heavy: Lookup, larger: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told so, with both figures, and known from then on; nobody else has to go for it."""
    monkeypatch.setattr(loading, "_INITIAL_DELAY_SECONDS", 0.001)
    async with room_for(2.5, opened, heavy) as pool:
        await pool.load(key("a"), heavy("a")())
        await ask(pool, "a")
        for _ in range(3):
            with pytest.raises(ModelLoadError, match=r"takes \d+ MiB, more than the \d+ MiB"):
                await pool.load(key("larger"), larger())
            await asyncio.sleep(0.1)
        assert (larger.entered, larger.left) == (1, 1)
        assert pool.is_loaded(key("a"))


async def test_growth(opened: Opened, heavy: Lookup, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that grows as it is used makes the others go, whoever is idle first."""
    monkeypatch.setattr(slots, "_MEASURE_SECONDS", 0.1)
    async with room_for(3.0, opened, heavy) as pool:
        for name in ("grows", "idle"):
            await pool.load(key(name), heavy(name)())
            await ask(pool, name)
        async with asyncio.timeout(60):
            while pool.is_loaded(key("idle")):
                await ask(pool, "grows", 2.5 * _SIZE)
        assert pool.is_loaded(key("grows"))
        await pool.load(key("idle"), heavy("idle")())
        assert not pool.is_loaded(key("grows"))
        await pool.load(key("grows"), heavy("grows")())
        assert await ask(pool, "grows", 2.0) == [2.0]


async def test_a_model_that_breaks_before_it_has_its_place(
    opened: Opened, files: Lookup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker dies, and cannot be replaced, as others are waited for: it is told so, and is not held."""
    folder = models.save(tmp_path / "model", models.Broken(f"later {tmp_path / 'loaded'}"))
    breaks = Files(key("breaks"), folder)
    async with opened(memory_bytes=2**60, request_seconds=60.0) as pool:
        await pool.load(key("commands"), files("commands")())
        busy = asyncio.create_task(pool.predict(key("commands"), Job(body(do=["sleep 50"]))))
        await asyncio.sleep(0)
        # said, not measured: what this long-lived process gives back meanwhile could be room enough
        monkeypatch.setattr(pool._slots.budget, "is_exceeded", lambda: True)
        loading = asyncio.create_task(pool.load(key("breaks"), breaks()))
        await until(
            lambda: any(crew.pids for crew in pool._slots._groups() if crew.source.key.name == "breaks")
        )
        (crew,) = (crew for crew in pool._slots._groups() if crew.source.key.name == "breaks")
        os.kill(crew.pids[0], signal.SIGKILL)
        await until(lambda: crew.failure is not None)
        monkeypatch.undo()
        pool._slots.changed.set()
        with pytest.raises(ModelLoadError):
            await loading
        assert pool.status(key("breaks")).state == "failed"
        busy.cancel()


async def test_no_request_fails_as_models_come_and_go(
    opened: Opened, heavy: Lookup, others: set[psutil.Process]
) -> None:
    """Eight models asked by four at once, with memory for three: a model that is gone is loaded again."""
    async with room_for(3.5, opened, heavy) as pool:
        loading: dict[str, asyncio.Lock] = {name: asyncio.Lock() for name in "abcdefgh"}

        async def asked(name: str) -> object:
            while True:
                try:
                    return await ask(pool, name, 2.0)
                except ModelNotLoaded:
                    async with loading[name]:
                        await pool.load(key(name), heavy(name)())

        async def client(first: int) -> None:
            for turn in range(8):
                assert await asked("abcdefgh"[(first + 3 * turn) % 8]) == [2.0]

        await asyncio.gather(*map(client, range(4)))
        assert 2 <= len(pool.statuses()) <= 4
        memory = pool.memory_report()
        assert memory.budget_bytes is not None
        assert taken(without=others) <= memory.budget_bytes * 1.05


def test_a_model_that_is_being_loaded_counts_once() -> None:
    """As what its processes take already, or what it is expected to take where that is more."""
    starting = SimpleNamespace(source=SimpleNamespace(key=key("starting")), memory_bytes=0)
    ending = SimpleNamespace(source=starting.source, memory_bytes=7 * _MIB)
    crews = cast("list[WorkerGroup]", [starting, ending])
    budget = MemoryBudget(2**40, forkserver=ForkServer(), groups=lambda: crews)
    budget.reserve(key("starting"))
    expected = budget.estimated_bytes(key("starting"))
    taken = []
    for starting.bytes in (0, expected // 2, 2 * expected):
        taken.append(budget.used_bytes - ending.bytes)
    assert taken == [expected, expected, 2 * expected]
    budget.release(key("starting"))
    assert budget.used_bytes == starting.bytes + ending.bytes
