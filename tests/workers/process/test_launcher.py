"""Starts of worker processes that fail or are cancelled: each ends, and says why."""

from __future__ import annotations

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.workers.conftest import key
from workers.process.forkserver import ForkServer
from workers.process.launcher import WorkerStartFailed, launch
from workers.protocol.messages import ModelSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor
    from pathlib import Path

    from workers.process.worker import ProcessWorker

TIMEOUT_SECONDS = 60.0


@pytest.fixture
def source(folders: dict[str, Path]) -> ModelSource:
    """A model that loads at once."""
    return ModelSource(key("sums"), str(folders["sums"]))


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """The thread that waits for forks."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture(scope="module")
def forkserver() -> Iterator[ForkServer]:
    """A fork server for the tests of this module."""
    server = ForkServer(preload="lean")
    yield server
    server.close()


def launching(
    source: ModelSource,
    executor: Executor,
    forkserver: ForkServer,
    *,
    seconds: float = TIMEOUT_SECONDS,
) -> asyncio.Task[ProcessWorker]:
    """Return a task that launches a worker."""
    return asyncio.create_task(
        launch(
            source,
            forkserver=forkserver,
            spawn_executor=executor,
            seconds=seconds,
            on_exit=lambda _: None,
        )
    )


async def test_a_start_that_cannot_begin_ends(source: ModelSource, forkserver: ForkServer) -> None:
    """It does not wait for the exit of a process that never started: the pipe that reports it is closed."""
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        with pytest.raises(RuntimeError):
            await launching(source, executor, forkserver)


@pytest.mark.parametrize("turns", range(6))
async def test_a_start_that_is_cancelled_ends(
    source: ModelSource, executor: ThreadPoolExecutor, forkserver: ForkServer, turns: int
) -> None:
    """It can be cancelled before the socket is connected, before the thread runs, and during the fork."""
    task = launching(source, executor, forkserver)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.slow
async def test_a_fork_server_that_hangs_is_killed(source: ModelSource, executor: ThreadPoolExecutor) -> None:
    """The start fails after the fork's time, not the load's, and the next start has another fork server."""
    forkserver = ForkServer(preload="lean", fork_timeout_seconds=1.0)
    await asyncio.to_thread(forkserver.probe_spawn)
    hung = forkserver.pid
    assert hung is not None
    os.kill(hung, signal.SIGSTOP)
    async with asyncio.timeout(2 * TIMEOUT_SECONDS):
        with pytest.raises(WorkerStartFailed, match="No process could be started"):
            await launching(source, executor, forkserver, seconds=0.1)
        assert not psutil.pid_exists(hung)
        forkserver.fork_timeout_seconds = TIMEOUT_SECONDS
        worker = await launching(source, executor, forkserver)
        assert forkserver.pid != hung
        await worker.kill()
        await asyncio.to_thread(forkserver.close)
