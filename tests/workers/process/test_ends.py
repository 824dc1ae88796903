"""The ends of things: starts that come to nothing, deaths while closing, streams that are over."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.workers.conftest import key
from workers.errors import ModelLoadError, PoolClosed, WorkerCrashed
from workers.limits import PoolLimits
from workers.metrics import Counters
from workers.process.forkserver import ForkServer
from workers.process.launcher import launch
from workers.protocol.messages import (
    ROW_BATCHING_UNKNOWN,
    Chunk,
    CloseStream,
    Job,
    ModelSource,
    NextChunk,
    OpenStream,
)
from workers.scheduler.dispatcher import Dispatcher
from workers.scheduler.worker_slot import WorkerSlot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from workers.process.channel import ReplyCallback
    from workers.process.worker import ProcessWorker
    from workers.protocol.messages import WorkerRequest
    from workers.scheduler.queue import PendingRequest

SECONDS = 10.0


def beginning(folder: Path, starter: ThreadPoolExecutor) -> asyncio.Task[ProcessWorker]:
    """A worker that is being started."""
    source = ModelSource(key("sums"), str(folder))
    start = launch(
        source, forkserver=ForkServer(), spawn_executor=starter, seconds=60.0, on_exit=lambda _: None
    )
    return asyncio.create_task(start)


async def test_a_start_that_cannot_begin_ends(folders: dict[str, Path]) -> None:
    """Nothing waits for a process that never was: the pipe that tells of its death is closed."""
    starter = ThreadPoolExecutor(1)
    starter.shutdown()
    async with asyncio.timeout(SECONDS):
        with pytest.raises(RuntimeError):
            await beginning(folders["sums"], starter)


@pytest.mark.parametrize("turns", range(6))
async def test_a_start_that_is_cancelled_ends(folders: dict[str, Path], turns: int) -> None:
    """At whichever step: before the socket is ready, before the thread has begun, and while it forks."""
    with ThreadPoolExecutor(1) as starter:
        task = beginning(folders["sums"], starter)
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(SECONDS):
            with pytest.raises(asyncio.CancelledError):
                await task


class Dying:
    """Stands for a worker: whatever it is given, it dies of."""

    connected = True

    def send_batch(self, requests: Sequence[WorkerRequest], on_reply: ReplyCallback) -> None:
        asyncio.get_running_loop().call_soon(on_reply, WorkerCrashed("The worker's process ended."))

    async def kill(self) -> None:
        """It is dead."""

    close = kill


async def test_a_job_that_is_to_be_tried_again_is_answered_at_the_close() -> None:
    """Between a death and the second try nobody is forgotten."""
    lost = asyncio.Event()

    def note(dead: ProcessWorker) -> None:
        dispatcher.remove(dead)
        lost.set()

    dispatcher = Dispatcher(
        key("x"), PoolLimits(), on_worker_exit=note, on_idle=lambda: None, counters=Counters()
    )
    dispatcher.add(WorkerSlot(cast("ProcessWorker", Dying()), 0.0), ROW_BATCHING_UNKNOWN)
    asked = asyncio.create_task(dispatcher.submit(Job(b"{}")))
    async with asyncio.timeout(SECONDS):
        await lost.wait()
    assert dispatcher.busy
    assert not asked.done()
    await dispatcher.close()
    async with asyncio.timeout(SECONDS):
        with pytest.raises(PoolClosed):
            await asked


async def test_a_job_that_is_to_be_tried_again_is_answered_where_no_worker_comes() -> None:
    """It does not wait for its deadline when its model is given up, before its second try or at it."""
    lost = asyncio.Event()

    def note(dead: ProcessWorker) -> None:
        dispatcher.remove(dead)
        lost.set()

    dispatcher = Dispatcher(
        key("x"), PoolLimits(), on_worker_exit=note, on_idle=lambda: None, counters=Counters()
    )
    dispatcher.add(WorkerSlot(cast("ProcessWorker", Dying()), 0.0), ROW_BATCHING_UNKNOWN)
    asked = asyncio.create_task(dispatcher.submit(Job(b"{}")))
    async with asyncio.timeout(SECONDS):
        await lost.wait()
        dispatcher.reject_all(ModelLoadError("No worker can be had."))
        with pytest.raises(ModelLoadError):
            await asked
    assert not dispatcher.busy
    await dispatcher.close()


class Unaskable(Dying):
    """Stands for a worker that cannot be given anything, for a reason that nobody thought of."""

    def send_batch(self, requests: Sequence[WorkerRequest], on_reply: ReplyCallback) -> None:
        raise KeyError("odd")


async def test_what_cannot_be_handed_out_is_answered() -> None:
    """The error reaches who waits and the loop's handler, and the worker is free for others."""
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    dispatcher = Dispatcher(
        key("x"), PoolLimits(), on_worker_exit=lambda _: None, on_idle=lambda: None, counters=Counters()
    )
    dispatcher.add(WorkerSlot(cast("ProcessWorker", Unaskable()), 0.0), ROW_BATCHING_UNKNOWN)
    try:
        async with asyncio.timeout(SECONDS):
            for ask in (dispatcher.submit(Job(b"{}")), dispatcher.submit(OpenStream(Job(b"{}"), 1))):
                with pytest.raises(KeyError):
                    await ask
        assert not dispatcher.busy
    finally:
        asyncio.get_running_loop().set_exception_handler(None)
        await dispatcher.close()
    assert [type(context["exception"]) for context in heard] == [KeyError, KeyError]


@pytest.mark.parametrize("late", [NextChunk(1), CloseStream(1)])
def test_what_is_said_of_a_stream_that_is_over_says_nothing_of_the_next(late: WorkerRequest) -> None:
    """A worker that still answers for the last stream holds the new one all the same."""
    post = WorkerSlot(cast("ProcessWorker", Dying()), 0.0)

    def ticket(ask: WorkerRequest) -> list[PendingRequest]:
        return [cast("PendingRequest", type("T", (), {"request": ask})())]

    post.assign(ticket(OpenStream(Job(b""), 2)))
    over: Any = [Chunk(None)]
    post.update_stream(ticket(late), over)
    assert post.stream_id == 2
    post.update_stream(ticket(CloseStream(2)), over)
    assert post.stream_id is None
