"""Requests whose worker dies, cannot be used or is closed, and streams that have ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.workers.conftest import key
from workers.errors import ModelLoadError, PoolClosed, WorkerCrashed
from workers.limits import PoolLimits
from workers.metrics import Counters
from workers.protocol.messages import (
    ROW_BATCHING_UNKNOWN,
    Chunk,
    CloseStream,
    Job,
    NextChunk,
    OpenStream,
)
from workers.scheduler.dispatcher import Dispatcher
from workers.scheduler.worker_slot import WorkerSlot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workers.pending_request import PendingRequest
    from workers.process.channel import ReplyCallback
    from workers.process.worker import ProcessWorker
    from workers.protocol.messages import WorkerRequest

SECONDS = 60.0


class Dying:
    """A stand-in for a worker that dies of every batch."""

    connected = True

    def send_batch(self, requests: Sequence[WorkerRequest], on_reply: ReplyCallback) -> None:
        asyncio.get_running_loop().call_soon(on_reply, WorkerCrashed("The worker's process ended."))

    async def kill(self) -> None:
        """Do nothing: it is dead."""

    close = kill


def create_dispatcher(on_worker_exit: Callable[[ProcessWorker], None]) -> Dispatcher:
    return Dispatcher(
        key("x"),
        PoolLimits(),
        on_worker_exit=on_worker_exit,
        on_timeout=lambda _: None,
        on_idle=lambda: None,
        counters=Counters(),
    )


async def test_close_answers_a_request_that_waits_for_its_retry() -> None:
    """A request between a crash and its retry gets PoolClosed."""
    lost = asyncio.Event()

    def on_worker_exit(worker: ProcessWorker) -> None:
        dispatcher.remove(worker)
        lost.set()

    dispatcher = create_dispatcher(on_worker_exit)
    dispatcher.add(WorkerSlot(cast("ProcessWorker", Dying()), 0.0), ROW_BATCHING_UNKNOWN)
    request = asyncio.create_task(dispatcher.submit(Job(b"{}")))
    async with asyncio.timeout(SECONDS):
        await lost.wait()
    assert dispatcher.busy
    assert not request.done()
    await dispatcher.close()
    async with asyncio.timeout(SECONDS):
        with pytest.raises(PoolClosed):
            await request


async def test_reject_all_answers_a_request_that_waits_for_its_retry() -> None:
    """It fails at once when its model is given up, not at its deadline."""
    lost = asyncio.Event()

    def on_worker_exit(worker: ProcessWorker) -> None:
        dispatcher.remove(worker)
        lost.set()

    dispatcher = create_dispatcher(on_worker_exit)
    dispatcher.add(WorkerSlot(cast("ProcessWorker", Dying()), 0.0), ROW_BATCHING_UNKNOWN)
    request = asyncio.create_task(dispatcher.submit(Job(b"{}")))
    async with asyncio.timeout(SECONDS):
        await lost.wait()
        dispatcher.reject_all(ModelLoadError("No worker can be started."))
        with pytest.raises(ModelLoadError):
            await request
    assert not dispatcher.busy
    await dispatcher.close()


class Unusable(Dying):
    """A stand-in for a worker to which a batch cannot be sent, for an unexpected reason."""

    def send_batch(self, requests: Sequence[WorkerRequest], on_reply: ReplyCallback) -> None:
        raise KeyError("odd")


async def test_a_request_that_cannot_be_sent_is_answered() -> None:
    """The error reaches its caller and the loop's handler, and the worker is free for other requests."""
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    dispatcher = create_dispatcher(lambda _: None)
    dispatcher.add(WorkerSlot(cast("ProcessWorker", Unusable()), 0.0), ROW_BATCHING_UNKNOWN)
    try:
        async with asyncio.timeout(SECONDS):
            for call in (dispatcher.submit(Job(b"{}")), dispatcher.submit(OpenStream(Job(b"{}"), 1))):
                with pytest.raises(KeyError):
                    await call
        assert not dispatcher.busy
    finally:
        asyncio.get_running_loop().set_exception_handler(None)
        await dispatcher.close()
    assert [type(context["exception"]) for context in errors] == [KeyError, KeyError]


@pytest.mark.parametrize("late", [NextChunk(1), CloseStream(1)])
def test_a_late_reply_to_an_ended_stream_does_not_end_the_next(late: WorkerRequest) -> None:
    """A worker that still replies for the last stream keeps the new one open."""
    slot = WorkerSlot(cast("ProcessWorker", Dying()), 0.0)

    def batch(request: WorkerRequest) -> list[PendingRequest]:
        return [cast("PendingRequest", type("Pending", (), {"request": request})())]

    slot.assign(batch(OpenStream(Job(b""), 2)))
    ended: Any = [Chunk(None)]
    slot.update_stream(batch(late), ended)
    assert slot.stream_id == 2
    slot.update_stream(batch(CloseStream(2)), ended)
    assert slot.stream_id is None
