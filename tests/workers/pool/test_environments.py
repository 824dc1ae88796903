"""Models in environments of their own: which fork servers run, how they end, and how many there may be."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.support import environments
from tests.support.waiting import until
from tests.workers.conftest import Files, LiveLimits, key, load
from tests.workers.pool.calls import ADD, COMMANDS, SUMS, command, ended, predict, running, worker_pid
from workers.errors import CapacityExceeded
from workers.metrics import MODEL_UNLOADS, WORKER_EXITS
from workers.pool import process_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.workers.pool.calls import Opened
    from workers.pool.pool import Pool
    from workers.wall.policy import WallPolicy
    from workers.worker_environment import WorkerEnvironment

    Within = Callable[..., Files]

SEEN = """
import importlib.util, os, sys
found = [name for name in ("gateway", "workers") if importlib.util.find_spec(name)]
print(sys.prefix, sys.flags.isolated, os.environ["VIRTUAL_ENV"], found)
"""
PATIENT: dict[str, Any] = {"fork_timeout_seconds": 600.0}
"""For the imports of a fork server on a busy machine."""
_MIB = 2**20


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> WorkerEnvironment:
    """An environment."""
    return environments.make(tmp_path_factory.mktemp("environments") / "first")


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> WorkerEnvironment:
    """Another one."""
    return environments.make(tmp_path_factory.mktemp("environments") / "second")


@pytest.fixture
def wall(folders: dict[str, Path]) -> WallPolicy:
    """The wall, with the folders of the models."""
    return environments.wall(*folders.values())


@pytest.fixture
def within(folders: dict[str, Path]) -> Within:
    """A function that returns the files of a model in an environment, by its name."""
    return lambda environment, name: Files(key(name), folders[name], environment=environment)


async def test_a_model_runs_in_its_environment(
    opened: Opened, within: Within, first: WorkerEnvironment, wall: WallPolicy
) -> None:
    """Its worker has that interpreter and nothing of the gateway; a model without one runs beside it."""
    async with opened(**PATIENT, wall=wall) as pool:
        await load(pool, within(first, "commands"))
        await load(pool, within(None, "sums"))
        prefix = first.python.removesuffix("/bin/python")
        assert await output(pool, SEEN) == f"{prefix} 1 {prefix} []\n"
        assert await predict(pool, "sums", ADD) == [11.0, 22.0]
        assert pool.environments == {"first"}
        assert psutil.Process(await worker_pid(pool)).ppid() != pool._forkserver.pid


@pytest.mark.slow
async def test_the_server_of_an_environment_that_is_full(
    opened: Opened, within: Within, first: WorkerEnvironment, second: WorkerEnvironment, wall: WallPolicy
) -> None:
    """An idle model's environment makes room. For a busy one's a load waits, for a pinned one's not."""
    async with opened(**PATIENT, wall=wall, environments_running=1, request_seconds=200.0) as pool:
        await load(pool, within(first, "sums"))
        assert await predict(pool, "sums", ADD) == [11.0, 22.0]
        await load(pool, within(second, "commands"))
        assert pool.environments == {"second"}
        assert pool.counters.value(MODEL_UNLOADS, "sums", "1", "capacity") == 1
        busy = asyncio.create_task(pool.predict(COMMANDS, command("sleep 190")))
        await running(pool)
        pool.notify_limits_changed()
        waiting = asyncio.create_task(load(pool, within(first, "sums")))
        await until(lambda: bool(pool._slots.loading))
        assert pool.environments == {"second"}
        busy.cancel()
        pool.pin(COMMANDS)
        pool.notify_owners_changed()
        with pytest.raises(CapacityExceeded, match="All 1 Python environments that may run at once"):
            await waiting
        pool.unpin(COMMANDS)
        assert pool.environments == {"second"}


async def test_a_server_ends_some_time_after_its_last_model(
    opened: Opened, within: Within, first: WorkerEnvironment, wall: WallPolicy
) -> None:
    """Until then it serves the next model; with it go its processes and its temporary files."""
    async with opened(**PATIENT, wall=wall, environment_idle_seconds=30.0) as pool:
        await load(pool, within(first, "sums"))
        (server,) = pool._environments.servers()
        keeper, folder = server.pid, server._tempdir
        assert keeper is not None
        assert folder is not None
        await pool.unload(SUMS)
        await load(pool, within(first, "commands"))
        assert server.pid == keeper
        assert Path(await output(pool, "import tempfile; print(tempfile.gettempdir())")).is_relative_to(
            folder
        )
        pool._environments._idle_seconds = 0.0
        await pool.unload(COMMANDS)
        await until(lambda: not pool.environments)
        await ended(keeper)
        assert not is_there(Path(folder))


@pytest.mark.slow
async def test_a_server_that_is_killed_touches_no_other(
    opened: Opened, within: Within, first: WorkerEnvironment, second: WorkerEnvironment, wall: WallPolicy
) -> None:
    """All requests for the others are answered meanwhile; its own models answer again, by a new one."""
    async with opened(**PATIENT, wall=wall, request_seconds=200.0) as pool:
        await load(pool, within(first, "sums"))
        await load(pool, within(second, "commands"))
        await load(pool, within(None, "tens"))
        killed = next(each for each in pool._environments.servers() if each.environment == first)
        before = worker = await worker_pid(pool)
        keeper = killed.pid
        (server,) = psutil.Process(keeper).children()
        (ending,) = pool._slots.loaded[SUMS].group.pids
        os.kill(server.pid, signal.SIGKILL)
        await ended(ending)
        answer = asyncio.create_task(predict(pool, "sums", ADD))
        while not answer.done():
            assert await predict(pool, "tens", ADD) == [110.0, 220.0]
            worker = await worker_pid(pool)
        assert await answer == [11.0, 22.0]
        assert worker == before
        assert killed.pid != keeper
        assert pool.counters.value(WORKER_EXITS, "sums", "1", "crash") == 1
        others = (pool.counters.value(WORKER_EXITS, each, "1", "crash") for each in ("commands", "tens"))
        assert sum(others) == 0


@pytest.mark.serial
@pytest.mark.skipif(not process_memory.is_supported(), reason="the system does not report PSS")
async def test_the_memory_of_an_environment(
    opened: Opened, within: Within, first: WorkerEnvironment, wall: WallPolicy
) -> None:
    """It is a part of the base memory, by PSS, and is free again when the memory is needed."""
    limits = LiveLimits(memory_bytes=2**60)
    async with opened(limits, **PATIENT, wall=wall) as pool:
        await load(pool, within(None, "sums"))
        await pool._budget.measure()
        before = pool.memory_report()
        assert before.environment_bytes == {}
        await load(pool, within(first, "commands"))
        await pool._budget.measure()
        report = pool.memory_report()
        (server,) = pool._environments.servers()
        below = psutil.Process(server.pid).children(recursive=True)
        reported = sum(each.memory_full_info().pss for each in [psutil.Process(server.pid), *below])
        measured = report.environment_bytes["first"] + report.model_bytes[COMMANDS]
        assert measured == pytest.approx(reported, rel=0.1)
        assert report.environment_bytes["first"] > 50 * _MIB
        assert report.base_bytes - report.environment_bytes["first"] == pytest.approx(
            before.base_bytes, rel=0.3
        )
        await pool.unload(COMMANDS)
        assert pool.environments == {"first"}
        limits.set(memory_bytes=pool._budget.used_bytes + 10 * _MIB)
        await load(pool, within(None, "tens"))
        assert not pool.environments


async def test_nothing_is_left_when_the_pool_closes(
    opened: Opened, within: Within, first: WorkerEnvironment, wall: WallPolicy
) -> None:
    """Neither processes nor temporary files, nor what a model started."""
    async with opened(**PATIENT, wall=wall) as pool:
        await load(pool, within(first, "commands"))
        (server,) = pool._environments.servers()
        started = await predict(pool, "commands", command("spawn"))
        assert isinstance(started, list)
        assert server.pid is not None
        assert server._tempdir is not None
        folder = Path(server._tempdir)
        pids = [server.pid, *(each.pid for each in psutil.Process(server.pid).children(recursive=True))]
        assert started[0] in pids
    for pid in pids:
        await ended(pid)
    assert not is_there(folder)


def is_there(folder: Path) -> bool:
    """Return whether a folder exists."""
    return folder.exists()


async def output(pool: Pool, text: str) -> str:
    """Return what a program prints in the worker of `commands`."""
    answer = await predict(pool, "commands", command("run " + text))
    assert isinstance(answer, list)
    return str(answer[0])
