"""Attacks of a hostile model on the gateway's process by what it can write to; and what it leaves behind."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.support.forkserver import another_forkserver
from tests.support.waiting import until
from tests.workers.conftest import load
from tests.workers.pool.calls import COMMANDS, command, ended, predict, running, worker_pid
from workers.errors import ModelLoadError, WorkerCrashed
from workers.metrics import ORPHANS_ENDED, WORKER_EXITS
from workers.process.executor_context import ExecutorContext, ResultQueue

if TYPE_CHECKING:
    from pathlib import Path

    from tests.workers.pool.calls import Lookup, Opened
    from workers.pool.pool import Pool
    from workers.protocol.messages import Job

PICKLE = """
import os, pickle, struct, time
class Touch:
    def __reduce__(self):
        return exec, ("import os; open(MARK, 'w').write(str(os.getpid()))",)
data = pickle.dumps(Touch())
message = struct.pack("!i", len(data)) + data
"""
"""A message as multiprocessing's connections send it; who unpickles it creates the file MARK."""

OWN_PIPES = """
for name in os.listdir("/proc/self/fd"):
    path = f"/proc/self/fd/{name}"
    for descriptor in (lambda: int(name), lambda: os.open(path, os.O_WRONLY | os.O_NONBLOCK)):
        try:
            if os.readlink(path).startswith("pipe:"):
                print("wrote", os.write(descriptor(), message))
        except OSError as error:
            print(error)
"""

YOUNG_PIPES = """
def children():
    with open(f"/proc/{os.getppid()}/task/{os.getppid()}/children") as file:
        return set(file.read().split())
known, end, writers = children(), time.monotonic() + 20, []
while time.monotonic() < end and not writers:
    for pid in children() - known:
        until = time.monotonic() + 1
        while time.monotonic() < until:
            try:
                for name in os.listdir(f"/proc/{pid}/fd"):
                    if os.readlink(f"/proc/{pid}/fd/{name}").startswith("pipe:"):
                        writers.append(os.open(f"/proc/{pid}/fd/{name}", os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                pass
for writer in writers[:10_000]:
    try:
        os.write(writer, message)
    except OSError:
        pass
print("opened", len(writers))
"""

DAEMON = """
import os, time
reader, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(writer, str(os.getpid()).encode())
        time.sleep(300)
    INTERMEDIATE
print(os.read(reader, 20).decode())
"""


class Mark:
    """A file that an attack creates where it succeeds, with the id of the process that it runs in."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def pid(self) -> int | None:
        """The id, if the file exists."""
        return int(self.path.read_text()) if self.path.exists() else None


class Touches:
    """An object that creates a file in the process that unpickles it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.file), "w")


def attack(text: str, mark: Mark) -> Job:
    """Return a job that runs a program after `PICKLE`, in both of which `MARK` is a path."""
    return command("run " + (PICKLE + text).replace("MARK", repr(str(mark.path))))


@pytest.fixture
def mark(tmp_path: Path) -> Mark:
    """The mark of an attack."""
    return Mark(tmp_path / "mark")


async def test_nothing_that_a_worker_writes_is_unpickled(opened: Opened, files: Lookup, mark: Mark) -> None:
    """A model writes a pickle to each pipe it has, also by opening its reading ends for writing."""
    async with opened() as pool:
        await load(pool, files("commands"))
        report = await run(pool, attack(OWN_PIPES, mark))
        assert "wrote" in report
        await predict(pool, "commands", command("x"))
    assert mark.pid is None


@pytest.mark.slow
async def test_nothing_that_is_written_for_a_young_worker_is_unpickled(
    opened: Opened, files: Lookup, mark: Mark
) -> None:
    """A model waits for the next process of the fork server, and opens its pipes before it is prepared.

    As root, and where the kernel has no wall, it gets them, and so the other model; never this process.
    """
    async with opened() as pool:
        await load(pool, files("commands"))
        call = asyncio.create_task(run(pool, attack(YOUNG_PIPES, mark)))
        await running(pool)
        with suppress(WorkerCrashed, ModelLoadError):
            await load(pool, files("sums"))
        assert (await call).startswith("opened")
        await predict(pool, "commands", command("x"))
    assert mark.pid != os.getpid()


async def test_bytes_in_the_executors_results_end_its_worker(
    opened: Opened, files: Lookup, mark: Mark, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should anything ever reach that queue, it is not unpickled, and the worker is replaced."""
    queues: list[ResultQueue] = []

    def recorded(_: ExecutorContext) -> ResultQueue:
        queues.append(ResultQueue())
        return queues[-1]

    monkeypatch.setattr(ExecutorContext, "SimpleQueue", recorded)
    async with opened() as pool:
        await load(pool, files("commands"))
        pid = await worker_pid(pool)
        queues[0]._writer.send(Touches(mark.path))
        await ended(pid)
        await until(lambda: pool.counters.value(WORKER_EXITS, "commands", "1", "crash") == 1)
        assert await worker_pid(pool) != pid
    assert mark.pid is None


async def test_the_executor_of_python_would_unpickle_it(mark: Mark) -> None:
    """The message of these tests runs code in a process that reads it."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    writer.send(Touches(mark.path))
    reader.recv().close()
    assert mark.path.exists()


async def test_what_a_model_leaves_behind_is_ended(opened: Opened, files: Lookup) -> None:
    """A daemon of a model that lives on is killed and counted, and the model's worker serves on."""
    async with opened() as pool:
        await load(pool, files("commands"))
        pid = await worker_pid(pool)
        await ended(int(await run(pool, daemon("os._exit(0)"))))
        await until(lambda: pool.counters.value(ORPHANS_ENDED) >= 1)
        assert await worker_pid(pool) == pid


@pytest.mark.parametrize("how", ["unload", "kill"])
async def test_what_a_model_started_ends_with_it(opened: Opened, files: Lookup, how: str) -> None:
    """So does a process that has a session of its own, below one that waits for it."""
    async with opened() as pool:
        await load(pool, files("commands"))
        pid = await worker_pid(pool)
        daemons = [int(await run(pool, daemon("time.sleep(300)"))) for _ in range(2)]
        if how == "kill":
            os.kill(pid, signal.SIGKILL)
        else:
            await pool.unload(COMMANDS)
        for each in daemons:
            await ended(each)


@pytest.mark.slow  # a fork server of its own
async def test_no_daemon_outlives_the_fork_server(opened: Opened, files: Lookup) -> None:
    """When the gateway ends, the fork server first ends whatever is below it."""
    with another_forkserver():
        async with opened(preload="lean") as pool:
            await load(pool, files("commands"))
            await run(pool, daemon("time.sleep(300)"))
            below = psutil.Process(pool._forkserver.pid).children(recursive=True)
    assert len(below) == 3
    assert not any(process.is_running() for process in below)


def daemon(intermediate: str) -> Job:
    """Return a job that starts a daemon; the process between them runs `intermediate`."""
    return command("run " + DAEMON.replace("INTERMEDIATE", intermediate))


async def run(pool: Pool, job: Job) -> str:
    """Return what a program printed in the worker of `commands`."""
    answer = await predict(pool, "commands", job)
    assert isinstance(answer, list)
    return str(answer[0])
