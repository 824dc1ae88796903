"""Jobs of one model version waiting in a bounded queue; hands them out in batches."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from workers.errors import QueueFull
from workers.protocol.messages import OpenStream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workers.protocol.messages import Job, WorkerRequest

_MAX_BATCH_BYTES = 256 * 1024
"""No body makes a batch larger than this, so that small ones do not wait for the reading of a large one."""


class PendingRequest:
    """A job and the future that its caller waits on, of a Reply or, where it is part of a stream, a Chunk.

    It is `suspect` where a worker died while it ran it, perhaps with others; `deaths` counts the workers
    that died while they ran nothing else. What asks an open stream for more is never `queued`: it belongs to
    one worker.
    """

    __slots__ = ("crash_suspect", "crashes", "future", "queued", "request", "size", "spared")

    def __init__(
        self, request: WorkerRequest, future: asyncio.Future[Any], *, size: int = 0, queued: bool = True
    ) -> None:
        self.request = request
        self.future = future
        self.size = size
        self.crash_suspect = False
        self.crashes = 0
        self.spared = 0
        self.queued = queued

    @property
    def must_run_alone(self) -> bool:
        """Whether it shares no batch: a worker may have died of it, or is its stream's from then on."""
        return self.crash_suspect or type(self.request) is OpenStream


class RequestQueue:
    """A queue that grows no longer than `limit`.

    A batch never waits for company: it is whatever waits when a worker is free.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._pending: deque[PendingRequest] = deque()

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._pending)

    def put(self, ask: Job | OpenStream) -> PendingRequest:
        """Queue a job. Raises QueueFull."""
        if self.waiting >= self._limit:
            raise QueueFull(f"{self.waiting} requests already wait for this version.")
        job = ask.job if type(ask) is OpenStream else ask
        ticket = PendingRequest(ask, self._loop.create_future(), size=len(job.body))  # type: ignore[union-attr] # a job
        self._pending.append(ticket)
        return ticket

    def discard(self, ticket: PendingRequest) -> None:
        """Forget a job that nobody waits for any more; nothing happens where it was handed out."""
        if ticket.queued:
            ticket.queued = False
            self._pending.remove(ticket)  # its body goes with it, however long the model is busy
            if not ticket.future.done():
                ticket.future.cancel()

    def next_batch(self, limit: int) -> list[PendingRequest]:
        """The next batch, of at most so many jobs; empty where nothing waits.

        A suspect goes alone, so that it cannot take others with it, and is known by that; one that opens
        a stream too, since the worker is the stream's from then on.
        """
        batch: list[PendingRequest] = []
        size = 0
        while self._pending and len(batch) < limit:
            ticket = self._pending[0]
            size += ticket.size
            if batch and (size > _MAX_BATCH_BYTES or ticket.must_run_alone):
                break
            self._pending.popleft()
            ticket.queued = False
            batch.append(ticket)
            if ticket.must_run_alone:
                break
        return batch

    def requeue_front(self, tickets: Iterable[PendingRequest]) -> None:
        """Queue again, in front, what a worker that died had been given."""
        for ticket in reversed([ticket for ticket in tickets if not ticket.future.done()]):
            ticket.queued = True
            self._pending.appendleft(ticket)

    def reject_all(self, error: Exception) -> None:
        """Answer everything that waits with `error`."""
        for ticket in self._pending:
            if not ticket.future.done():
                ticket.future.set_exception(error)
            ticket.queued = False
        self._pending.clear()
