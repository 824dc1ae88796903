"""The dispatcher of one model version: it gives queued requests to free workers."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING, Any, Final, cast

from workers.errors import PoolClosed, WorkerCrashed
from workers.pending_request import PendingRequest
from workers.protocol.messages import Failure, Reply
from workers.scheduler.batch_metrics import BatchMetrics
from workers.scheduler.batch_sizing import BatchSizer
from workers.scheduler.queue import RequestQueue
from workers.scheduler.results import reject, resolve_batch
from workers.scheduler.retry import RetryQueue
from workers.scheduler.worker_slot import WorkerSlot, WorkerSlots

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workers.limits import PoolLimits
    from workers.metrics import Counters
    from workers.process.channel import BatchOutcome
    from workers.process.worker import ProcessWorker
    from workers.protocol.messages import (
        CloseStream,
        Job,
        LoadReport,
        ModelKey,
        NextChunk,
        OpenStream,
        RowBatching,
        WorkerReply,
    )
    from workers.submission import Submission

_REPLY_ALONE: Final = frozenset({Reply})


class Dispatcher:
    """A dispatcher between the request queue of a model version and the slots of its workers.

    It calls `on_worker_exit` with a worker that crashed, `on_timeout` with the slot of one that does not
    reply in time, and `on_idle` whenever the last request is done.
    """

    def __init__(
        self,
        key: ModelKey,
        limits: PoolLimits,
        *,
        on_worker_exit: Callable[[ProcessWorker], None],
        on_timeout: Callable[[WorkerSlot], None],
        on_idle: Callable[[], None],
        counters: Counters,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_worker_exit = on_worker_exit
        self._on_idle = on_idle
        self._batch_sizer = BatchSizer(row_batching=False)
        self._batch_metrics = BatchMetrics(counters)
        self._queue = RequestQueue(
            key,
            limits,
            counters=counters,
            seconds_per_request=self._seconds_per_request,
            on_drop=self._notify_if_idle,
        )
        self._retry_queue = RetryQueue(key, counters=counters, on_due=self._requeue)
        self._demand = asyncio.Event()
        self._dispatch_scheduled = False
        self.slots = WorkerSlots(self._queue.max_wait_seconds, on_timeout=on_timeout)
        self.last_used = 0.0

    @property
    def busy(self) -> bool:
        """Whether a request waits or runs, also in a worker that just crashed, or a stream is open."""
        return self.slots.busy or self.waiting > 0

    @property
    def waiting(self) -> int:
        """The number of requests that wait, for the first time or again."""
        return self._queue.waiting + self._retry_queue.waiting

    @property
    def running(self) -> int:
        """The number of requests that the workers were given, those for open streams included."""
        return self.slots.running

    def add(self, slot: WorkerSlot, row_batching: RowBatching) -> None:
        """Let a worker serve requests."""
        if not self.slots:
            self._batch_sizer = BatchSizer(row_batching=row_batching.enabled)
        # The first worker starts the idle clock. A restart must not reset it, or an unused model
        # that keeps crashing would never be evicted.
        self.last_used = self.last_used or self._loop.time()
        self._demand.clear()
        self.slots.add(slot)
        self._schedule_dispatch()

    def remove(self, worker: ProcessWorker) -> WorkerSlot | None:
        """Remove and return the slot of a worker that ended; None if it has none.

        What the worker was given is answered, or runs again, when its channel has reported its end.
        """
        slot = self.slots.remove(worker)
        if slot is not None and slot.stream_id is not None:
            self._notify_if_idle()
        return slot

    async def submit(self, request: Job | OpenStream) -> Any:
        """Return the reply of the first worker that is free.

        Raise QueueFull, PredictionTimeout, PoolClosed, WorkerCrashed, or the error in the worker's reply.
        """
        pending = self._queue.put(request)
        self._note_demand()
        return await self._queue.wait_reply(pending)

    def submit_all(
        self, ids: Sequence[int], jobs: Sequence[Job], on_done: Callable[[int, Any], None]
    ) -> list[Submission]:
        """Have `on_done` called with the id of each job, and the reply of a worker that is free or the error.

        It is called now for those that find the queue full; return the others, which are the first ones. See
        Submission for what `on_done` may do.
        """
        submissions = self._queue.submit(ids, jobs, on_done)
        self._note_demand()
        return submissions

    async def submit_to(self, slot: WorkerSlot, request: NextChunk) -> Any:
        """Return the reply of the worker that holds a stream; raise as `submit` does."""
        self.last_used = self._loop.time()
        return await self._queue.wait_reply(self.send(slot, request))

    def send(self, slot: WorkerSlot, request: NextChunk | CloseStream) -> PendingRequest:
        """Give a worker a request for its stream, beside the queue."""
        pending = PendingRequest(request, self._loop.create_future())
        self._send_batch(slot, [pending])
        return pending

    def reject_all(self, error: Exception) -> None:
        """Answer every request that waits with `error`, because no worker can be started."""
        self._queue.reject_all(error)
        self._retry_queue.reject_all(error)
        self._notify_if_idle()

    async def wait_for_demand(self, seconds: float) -> None:
        """Wait for `seconds`, or until a request waits while there is no worker."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._demand.wait()

    async def close(self) -> None:
        """Answer every request with PoolClosed, and end every worker."""
        error = PoolClosed("The model is being unloaded.")
        self._queue.reject_all(error)
        self._retry_queue.reject_all(error)
        self.slots.reject_all(error)
        await self.slots.end_workers()
        self._queue.close()

    def _seconds_per_request(self) -> float:
        return self._batch_sizer.seconds_per_request / max(1, len(self.slots))

    def _note_demand(self) -> None:
        """Have a request that was queued sent, by a worker that must start first if there is none."""
        self.last_used = self._loop.time()
        if not self.slots.serving:
            self._demand.set()
        if not self._dispatch_scheduled:
            self._schedule_dispatch()

    def _schedule_dispatch(self) -> None:
        """Dispatch in the next iteration of the loop, so that requests of this one share a batch."""
        self._dispatch_scheduled = True
        self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Give waiting requests to free workers, whenever either may have changed. Never raises."""
        self._dispatch_scheduled = False
        try:
            while self._queue.waiting and (slot := self.slots.find_free(self._batch_sizer.max_in_flight)):
                batch = self._queue.next_batch(self._batch_sizer.max_batch)
                self._batch_metrics.record(batch)
                self._send_batch(slot, batch)
        except Exception as error:  # noqa: BLE001 - no client may wait for a request that is never sent
            self._queue.reject_all(error)
            self._loop.call_exception_handler({"message": "Dispatching requests failed.", "exception": error})

    def _send_batch(self, slot: WorkerSlot, batch: list[PendingRequest]) -> None:
        self.slots.assign(slot, batch)
        try:
            requests = [pending.request for pending in batch]
            slot.worker.send_batch(requests, partial(self._on_reply, slot, batch))
        except Exception as error:  # nothing was sent, so no reply will come
            slot.update_stream(batch, ())
            self.slots.settle(slot, batch)
            reject(batch, error)
            raise

    def _on_reply(self, slot: WorkerSlot, batch: list[PendingRequest], outcome: BatchOutcome) -> None:
        """Resolve a batch, or have it run again if its worker crashed; then go on with what waits."""
        self.slots.settle(slot, batch)
        if isinstance(outcome, WorkerCrashed):
            self._retry_queue.add(slot, batch, outcome)
            self._on_worker_exit(slot.worker)
        else:
            replies, seconds = outcome
            slot.update_stream(batch, replies)
            if _REPLY_ALONE.issuperset(map(type, replies)):  # errors are quick and no measure of the model
                self._batch_sizer.record(len(batch), seconds)
                self._batch_metrics.record_rows(cast("tuple[Reply, ...]", replies))
            elif len(replies) == len(batch) > 1:
                batch, replies = self._requeue_crowded(batch, replies)
            resolve_batch(batch, replies)
        self._dispatch()
        self._notify_if_idle()

    def _requeue_crowded(
        self, batch: list[PendingRequest], replies: tuple[WorkerReply | LoadReport, ...]
    ) -> tuple[list[PendingRequest], tuple[WorkerReply | LoadReport, ...]]:
        """Queue again those requests whose answers were too large beside the others; return the rest."""
        crowded = [isinstance(reply, Failure) and reply.kind == "batch" for reply in replies]
        if not any(crowded):
            return batch, replies
        again = list(compress(batch, crowded))
        for pending in again:
            pending.crash_suspect = True  # so that it runs alone
        self._queue.requeue_front(again)
        fits = [not each for each in crowded]
        return list(compress(batch, fits)), tuple(compress(replies, fits))

    def _requeue(self, batch: list[PendingRequest]) -> None:
        """Queue a batch again after its delay; the queue is idle if its clients left meanwhile."""
        self._queue.requeue_front(batch)
        self._dispatch()
        self._notify_if_idle()

    def _notify_if_idle(self) -> None:
        if not self.busy:
            self._on_idle()
