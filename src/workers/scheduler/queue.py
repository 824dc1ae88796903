"""The queue of the requests for one model version."""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any

from workers.errors import PredictionTimeout, QueueFull
from workers.metrics import PREDICTIONS_ABANDONED, QUEUE_REJECTIONS
from workers.pending_request import PendingRequest
from workers.protocol.messages import OpenStream
from workers.scheduler.deadlines import Deadlines
from workers.submission import Submission

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from workers.limits import PoolLimits
    from workers.metrics import Counters
    from workers.protocol.messages import Job, ModelKey

_MAX_BATCH_BYTES = 256 * 1024
"""A second body must not make a batch larger, so that no small body waits until a large one is read."""


class RequestQueue:
    """A queue, bounded in length, of requests that time out.

    No request waits for a batch to fill: a batch is what waits when a worker becomes free.
    Every request has timed out after `max_wait_seconds`; requests share timers, hence the excess.
    """

    def __init__(
        self,
        key: ModelKey,
        limits: PoolLimits,
        *,
        counters: Counters,
        seconds_per_request: Callable[[], float],
        on_drop: Callable[[], None],
    ) -> None:
        """`seconds_per_request` returns what each queued request adds to the wait; 0 if it is not known.

        `on_drop` is called after a request has left the queue without a reply.
        """
        self._labels = key.name, key.version
        self._max_queue = limits.max_queue
        self._request_seconds = limits.request_seconds
        self._counters = counters
        self._seconds_per_request = seconds_per_request
        self._on_drop = on_drop
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(limits.request_seconds, on_expired=self._expire)
        self._pending: deque[PendingRequest] = deque()
        self.max_wait_seconds = limits.request_seconds + 2 * self._deadlines.step_seconds

    @property
    def waiting(self) -> int:
        """The number of queued requests."""
        return len(self._pending)

    def put(self, request: Job | OpenStream) -> PendingRequest:
        """Queue a request. Raise QueueFull if the queue is full, or the expected wait too long."""
        waiting = len(self._pending)
        wait_seconds = waiting * self._seconds_per_request() if waiting else 0.0
        if waiting >= self._max_queue or wait_seconds > self._request_seconds:
            raise self._refusal()
        job = request.job if type(request) is OpenStream else request
        size = len(job.body)  # type: ignore[union-attr] # a job
        pending = PendingRequest(request, self._loop.create_future(), size=size, queued=True)
        self._pending.append(pending)
        return pending

    def submit(
        self, ids: Sequence[int], jobs: Sequence[Job], on_done: Callable[[int, Any], None]
    ) -> list[Submission]:
        """Queue jobs, and have `on_done` called with the id of each, and what `wait_reply` returns or raises.

        For those that `put` would refuse it is called now; return the others, which are the first ones.
        """
        accepted = self._room() if self._pending or len(ids) > 1 else 1
        watched: set[Any] = self._deadlines.open_bucket()
        now = perf_counter()
        submissions = [
            Submission(job_id, job, on_done, queued_at=now, watched=watched, drop=self._drop)
            for job_id, job in zip(ids[:accepted], jobs, strict=False)
        ]
        self._pending.extend(submissions)
        watched.update(submissions)
        for job_id in ids[accepted:]:
            on_done(job_id, self._refusal())
        return submissions

    async def wait_reply(self, pending: PendingRequest) -> Any:
        """Return the reply to a request, queued or not.

        Raise PredictionTimeout if its time is over first, or the error that it was rejected with.
        """
        future = pending.future
        watched = self._deadlines.watch(future)
        try:
            return await future
        finally:
            watched.discard(future)
            if pending.queued:
                self._drop(pending, "disconnect" if future.cancelled() else "timeout")

    def discard(self, pending: PendingRequest) -> None:
        """Forget a request that no client waits for; do nothing if it has left the queue."""
        if pending.queued:
            pending.queued = False
            self._pending.remove(pending)  # frees its body, however long the model is busy
            if not pending.future.done():
                pending.future.cancel()

    def next_batch(self, max_size: int) -> list[PendingRequest]:
        """Remove and return the next batch of at most `max_size` requests; empty if none waits.

        A crash suspect runs alone: it can crash no other request, and a second crash proves it guilty.
        A request that opens a stream runs alone because the stream then has the worker to itself.
        """
        batch: list[PendingRequest] = []
        size, waiting = 0, self._pending
        while waiting and len(batch) < max_size:
            pending = waiting[0]
            size += pending.size
            alone = pending.crash_suspect or type(pending.request) is OpenStream
            if batch and (alone or size > _MAX_BATCH_BYTES):
                break
            waiting.popleft()
            pending.queued = False
            batch.append(pending)
            if alone:
                break
        return batch

    def requeue_front(self, batch: Iterable[PendingRequest]) -> None:
        """Queue the unanswered requests of a crashed worker's batch again, before all others."""
        for pending in reversed([pending for pending in batch if not pending.future.done()]):
            pending.queued = True
            self._pending.appendleft(pending)

    def reject_all(self, error: Exception) -> None:
        """Answer every queued request with `error`."""
        rejected = list(self._pending)
        self._pending.clear()
        for pending in rejected:
            pending.queued = False
            if not pending.future.done():
                pending.future.set_exception(error)

    def close(self) -> None:
        """Cancel the timers."""
        self._deadlines.close()

    def _room(self) -> int:
        """Return how many more requests may be queued."""
        seconds = self._seconds_per_request()
        most = min(self._max_queue, self._request_seconds // seconds + 1) if seconds else self._max_queue
        return max(0, int(most) - len(self._pending))

    def _refusal(self) -> QueueFull:
        """Return the error for a request that may not wait, and count it."""
        waiting = len(self._pending)
        wait_seconds = waiting * self._seconds_per_request() if waiting else 0.0
        self._counters.increment(QUEUE_REJECTIONS, *self._labels)
        expected = f", about {wait_seconds:.0f} s" if wait_seconds > self._request_seconds else ""
        return QueueFull(f"{waiting} requests wait for this version{expected}.", wait_seconds=wait_seconds)

    def _drop(self, pending: PendingRequest, reason: str) -> None:
        """Forget a queued request that no client waits for, and count why."""
        self._counters.increment(PREDICTIONS_ABANDONED, *self._labels, reason)
        self.discard(pending)
        self._on_drop()

    def _expire(self, future: asyncio.Future[Any]) -> None:
        future.set_exception(
            PredictionTimeout(f"The model did not answer within {self._request_seconds:g} s.")
        )
