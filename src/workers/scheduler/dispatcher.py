"""Hands what waits for a model version to whichever of its workers is free, and sees to the answers."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from workers.errors import PoolClosed, PredictionTimeout, QueueFull, WorkerCrashed
from workers.metrics import QUEUE_REJECTIONS, REQUESTS_DROPPED, REQUESTS_RETRIED
from workers.protocol.messages import CloseStream, Failure, Reply
from workers.scheduler.background import BackgroundTasks
from workers.scheduler.batch_sizing import BatchSizer
from workers.scheduler.deadlines import Deadlines
from workers.scheduler.queue import PendingRequest, RequestQueue
from workers.scheduler.results import reject, resolve_batch
from workers.scheduler.retry import MAX_CRASHES, RetryQueue, record_crash
from workers.scheduler.worker_slot import WorkerSlot, occupancy

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.limits import PoolLimits
    from workers.metrics import Counters, CounterSpec
    from workers.process.channel import BatchOutcome
    from workers.process.worker import ProcessWorker
    from workers.protocol.messages import (
        Job,
        LoadReport,
        ModelKey,
        NextChunk,
        OpenStream,
        RowBatching,
        WorkerReply,
    )

logger = logging.getLogger(__name__)


class Dispatcher:
    """The queue of one model version, and the posts that serve it.

    A worker that becomes free takes what waits then. Its batch has the request's time; a worker that
    exceeds it is ended. `lost` is told of a worker whose process has ended, `idle` whenever the last
    job is done.
    """

    def __init__(
        self,
        key: ModelKey,
        limits: PoolLimits,
        *,
        on_worker_exit: Callable[[ProcessWorker], None],
        on_idle: Callable[[], None],
        counters: Counters,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._key = key
        self._limits = limits
        self._on_worker_exit = on_worker_exit
        self._on_idle = on_idle
        self._counters = counters
        self._queue = RequestQueue(limit=limits.max_queue)
        self._deadlines = Deadlines(limits.request_seconds, on_expired=self._expire)
        self._batch_sizer = BatchSizer(row_batching=False)
        self._dispatch_scheduled = False
        self._background_tasks = BackgroundTasks(key)
        self._drained = asyncio.Event()
        self._demand = asyncio.Event()
        self._has_served = False
        self._retry_queue = RetryQueue(on_due=self._requeue_batch)
        self._dead_slots: set[WorkerSlot] = set()
        self._closed = False
        self._fatal_error: Exception | None = None
        self.slots: list[WorkerSlot] = []
        self.last_used = self._loop.time()

    @property
    def busy(self) -> bool:
        """Whether a job waits or runs (in a worker that has just died, too), or a stream is open."""
        return self.waiting > 0 or bool(self._dead_slots) or any(post.busy for post in self.slots)

    @property
    def waiting(self) -> int:
        """How many jobs wait, for the first time or again."""
        return self._queue.waiting + self._retry_queue.waiting

    @property
    def running(self) -> int:
        """How many jobs the workers have been given, the open streams' questions among them."""
        return sum(len(batch) for post in (*self.slots, *self._dead_slots) for batch in post.batches)

    def add(self, post: WorkerSlot, merging: RowBatching) -> None:
        """Let a worker serve; `merging` says how its batches are predicted."""
        if not self.slots:
            self._batch_sizer = BatchSizer(row_batching=merging.enabled)
        if (
            not self._has_served
        ):  # its life begins; later, what nobody asks for is idle however often it restarts
            self.last_used = self._loop.time()
        self._has_served = True
        self._fatal_error = None
        self._demand.clear()
        self.slots.append(post)
        self._schedule_dispatch()

    def remove(self, worker: ProcessWorker) -> WorkerSlot | None:
        """Let a dead worker serve no more; its post, where it still had one.

        What it was given is answered, or run again, once nothing of it can come any more.
        """
        post = next((post for post in self.slots if post.worker is worker), None)
        if post is not None:
            self.slots.remove(post)
            if post.batches:
                self._dead_slots.add(post)
            elif post.stream_id is not None:
                self._notify_if_idle()
        return post

    async def submit(self, ask: Job | OpenStream) -> Any:
        """The answer of whichever worker is free first.

        Raises QueueFull, OutOfTime, PoolClosed, WorkerDied, and what the worker's failure stands for.
        """
        ticket = self._enqueue(ask)
        if not self.slots:
            self._demand.set()
        if not self._dispatch_scheduled:
            self._schedule_dispatch()
        return await self._wait_reply(ticket)

    async def submit_to(self, post: WorkerSlot, ask: NextChunk) -> Any:
        """The answer of the one worker that holds a stream; raises likewise."""
        ticket = self._stream_request(ask)
        self._send_batch(post, [ticket])
        return await self._wait_reply(ticket)

    def send(self, post: WorkerSlot, ask: CloseStream) -> None:
        """Have a worker do something that nobody waits for."""
        ticket = self._stream_request(ask)
        ticket.future.cancel()
        self._send_batch(post, [ticket])

    def reject_all(self, error: Exception) -> None:
        """Answer everything that waits with `error`, and what was to be tried again, since nobody comes."""
        self._fatal_error = error
        self._queue.reject_all(error)
        self._notify_if_idle()

    async def wait_for_demand(self, seconds: float) -> None:
        """Wait so long, or until something waits that nobody is there to answer."""
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._demand.wait()

    async def drain(self, seconds: float) -> None:
        """Wait until nothing waits or runs any more, for at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.busy:
                    self._drained.clear()
                    await self._drained.wait()

    async def close(self) -> None:
        """Answer all with PoolClosed, and end every worker."""
        self._closed = True
        error = _closed_error()
        self._queue.reject_all(error)
        busy = [post for post in self.slots if post.busy]
        free = [post for post in self.slots if not post.busy]
        self._background_tasks.cancel()
        for post in (*busy, *self._dead_slots):
            reject([ticket for batch in post.batches for ticket in batch], error)
        self._retry_queue.reject_all(error)
        await asyncio.gather(*(post.worker.kill() for post in busy), *(post.worker.close() for post in free))
        await self._background_tasks.wait()
        self.slots.clear()
        self._deadlines.close()

    def _enqueue(self, ask: Job | OpenStream) -> PendingRequest:
        """Queue a job. Raises QueueFull, also where it would wait for longer than it has time."""
        waiting = self._queue.waiting
        try:
            if waiting and (wait := self._expected_wait(waiting)) > self._limits.request_seconds:
                raise QueueFull(
                    f"{waiting} requests wait for this version, about {wait:.0f} s.", wait_seconds=wait
                )
            return self._queue.put(ask)
        except QueueFull as error:
            error.wait_seconds = error.wait_seconds or self._expected_wait(waiting)
            self._count(QUEUE_REJECTIONS)
            raise

    def _expected_wait(self, jobs: int) -> float:
        """Seconds until so many jobs are done, by the latest ones; 0 where nothing is known of the model."""
        return jobs * self._batch_sizer.seconds_per_request / max(1, len(self.slots))

    def _count(self, event: CounterSpec, times: int = 1) -> None:
        self._counters.increment(event, self._key.name, self._key.version, times=times)

    async def _wait_reply(self, ticket: PendingRequest) -> Any:
        future = ticket.future
        self.last_used = self._loop.time()
        watched = self._deadlines.watch(future)
        try:
            return await future
        finally:
            watched.discard(future)
            if ticket.queued:
                self._count(REQUESTS_DROPPED)
                self._queue.discard(ticket)
                self._notify_if_idle()

    def _expire(self, future: asyncio.Future[Any]) -> None:
        future.set_exception(
            PredictionTimeout(f"The model did not answer within {self._limits.request_seconds:g} s.")
        )

    def _schedule_dispatch(self) -> None:
        """Hand out once all that is ready now has had its turn: its jobs go in one batch, and none waits."""
        self._dispatch_scheduled = True
        self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Hand out what waits to whoever is free; called whenever either changes. Never raises."""
        self._dispatch_scheduled = False
        try:
            while self._queue.waiting and (post := self._free_slot()) is not None:
                tickets = self._queue.next_batch(self._batch_sizer.max_batch)
                if not tickets:
                    return
                self._send_batch(post, tickets)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for what is not handed out
            self._queue.reject_all(error)
            self._loop.call_exception_handler({"message": "Handing out jobs failed.", "exception": error})

    def _free_slot(self) -> WorkerSlot | None:
        post = min((post for post in self.slots if post.worker.connected), key=occupancy, default=None)
        return post if post is not None and post.is_free(self._batch_sizer.max_in_flight) else None

    def _send_batch(self, post: WorkerSlot, tickets: list[PendingRequest]) -> None:
        post.assign(tickets)
        if len(post.batches) == 1:
            self._restart_timer(post)
        try:
            post.worker.send_batch(
                [ticket.request for ticket in tickets], partial(self._on_reply, post, tickets)
            )
        except Exception as error:  # nothing was sent, and nothing will be heard
            post.batches.remove(tickets)
            post.update_stream(tickets, ())
            self._restart_timer(post)
            reject(tickets, error)
            raise

    def _on_reply(self, post: WorkerSlot, tickets: list[PendingRequest], heard: BatchOutcome) -> None:
        """A worker has answered a batch, or is dead."""
        post.batches.popleft()
        if not post.batches:
            self._dead_slots.discard(post)
        self._restart_timer(post)
        if isinstance(heard, WorkerCrashed):
            self._retry_batch(post, tickets, heard)
        else:
            answers, seconds = heard
            post.update_stream(tickets, answers)
            self._record_timing(tickets, answers, seconds)
            resolve_batch(tickets, answers)
        self._advance()

    def _advance(self) -> None:
        """Something is over: go on with what waits, or tell that nothing does."""
        self._dispatch()
        self._notify_if_idle()

    def _notify_if_idle(self) -> None:
        """Tell that nothing waits or runs any more, where that is so: somebody may wait for it."""
        if not self.busy:
            self._drained.set()
            self._on_idle()

    def _record_timing(
        self, tickets: list[PendingRequest], answers: tuple[WorkerReply | LoadReport, ...], seconds: float
    ) -> None:
        if all(
            type(answer) is Reply for answer in answers
        ):  # refusals are quick, and say nothing of the model
            self._batch_sizer.record(len(tickets), seconds)
        if (
            isinstance(tickets[0].request, CloseStream)
            and answers
            and isinstance(failed := answers[0], Failure)
        ):
            logger.warning(
                "A stream of %s did not close in order: %s\n%s", self._key, failed.message, failed.log
            )

    def _retry_batch(self, post: WorkerSlot, tickets: list[PendingRequest], error: WorkerCrashed) -> None:
        """Have what the dead worker held run again elsewhere, unless too many died of it."""
        post.died_working = True
        self._on_worker_exit(post.worker)
        reject(record_crash(post, tickets, error), error)
        if self._closed:
            reject(tickets, _closed_error())
            return
        self._count(REQUESTS_RETRIED, sum(not ticket.future.done() for ticket in tickets))
        self._retry_queue.add(tickets)

    def _requeue_batch(self, tickets: list[PendingRequest]) -> None:
        if self._fatal_error is not None:
            reject(tickets, self._fatal_error)
        self._queue.requeue_front(tickets)
        if not self._closed:
            self._advance()

    def _restart_timer(self, post: WorkerSlot) -> None:
        """Give the batch that the worker runs now its time; a worker that exceeds it is hung.

        Who waits for it is told before, that it is out of time.
        """
        if post.timer is not None:
            post.timer.cancel()
        seconds = self._limits.request_seconds + 2 * self._deadlines.step_seconds
        post.timer = self._loop.call_later(seconds, self._on_timeout, post) if post.batches else None

    def _on_timeout(self, post: WorkerSlot) -> None:
        logger.error(
            "A worker of %s has not answered for %g s: it is ended and replaced.",
            self._key,
            self._limits.request_seconds,
        )
        post.timed_out = True
        self._background_tasks.spawn(post.worker.kill())

    def _stream_request(self, ask: NextChunk | CloseStream) -> PendingRequest:
        """What concerns an open stream, which only the worker that holds it can answer."""
        ticket = PendingRequest(ask, self._loop.create_future(), queued=False)
        ticket.crashes = MAX_CRASHES
        return ticket


def _closed_error() -> PoolClosed:
    return PoolClosed("The model is being unloaded.")
