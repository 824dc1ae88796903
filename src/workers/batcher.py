"""Jobs of one model version waiting in a bounded queue; hands them out in batches."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from workers.errors import QueueFull
from workers.messages import Open

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workers.messages import Ask, Job

_BATCH_JOBS = 256
_BATCH_BYTES = 8 * 2**20
_BATCH_SECONDS = 0.05  # a batch is no longer than this where the model's pace is known
_PIPELINED_SECONDS = 0.02  # a slower model gains nothing from a batch that waits in the pipe
_NEWS = 0.2  # how much the latest batch counts in the pace


class Ticket:
    """A job and the future that its caller waits on, of a Reply or, where it is part of a stream, a Chunk.

    `deaths` counts the workers that died while they ran it. What asks an open stream for more is
    never `queued`: it belongs to one worker.
    """

    __slots__ = ("deaths", "future", "job", "queued")

    def __init__(self, job: Ask, *, queued: bool = True) -> None:
        self.job = job
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.deaths = 0
        self.queued = queued


class Batcher:
    """A queue that grows no longer than `limit`, and knows how large a batch should be.

    A batch never waits for company: it is whatever waits when a worker is free.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._tickets: deque[Ticket] = deque()
        self._pace: float | None = None
        self.waiting = 0

    def put(self, job: Job) -> Ticket:
        """Queue a job. Raises QueueFull."""
        if self.waiting >= self._limit:
            raise QueueFull(f"{self.waiting} requests already wait for this version.")
        ticket = Ticket(job)
        self._tickets.append(ticket)
        self.waiting += 1
        return ticket

    def withdraw(self, ticket: Ticket) -> None:
        """Forget a job that nobody waits for any more; nothing happens where it was handed out."""
        if ticket.queued:
            ticket.queued = False
            self.waiting -= 1
            if not ticket.future.done():
                ticket.future.cancel()

    def take(self) -> list[Ticket]:
        """The next batch, empty where nothing waits.

        A job that a worker died of goes alone, so that it cannot take others with it; one that opens
        a stream too, since the worker is the stream's from then on.
        """
        batch: list[Ticket] = []
        size = 0
        most = self._most()
        while self._tickets and len(batch) < most:
            ticket = self._tickets[0]
            if ticket.queued:
                alone = ticket.deaths > 0 or isinstance(ticket.job, Open)
                weight = len(ticket.job.body)  # type: ignore[union-attr] # only jobs are queued
                if batch and (alone or size + weight > _BATCH_BYTES):
                    break
                ticket.queued = False
                self.waiting -= 1
                batch.append(ticket)
                size += weight
                most = 1 if alone else most
            self._tickets.popleft()
        return batch

    def give_back(self, tickets: Iterable[Ticket]) -> None:
        """Queue again, in front, what a worker that died had been given."""
        for ticket in reversed([ticket for ticket in tickets if not ticket.future.done()]):
            ticket.queued = True
            self._tickets.appendleft(ticket)
            self.waiting += 1

    def fail(self, error: Exception) -> None:
        """Answer everything that waits with `error`."""
        for ticket in self._tickets:
            if ticket.queued and not ticket.future.done():
                ticket.future.set_exception(error)
            ticket.queued = False
        self._tickets.clear()
        self.waiting = 0

    def learn(self, seconds: float) -> None:
        """Take note of how long one job took."""
        self._pace = seconds if self._pace is None else (1 - _NEWS) * self._pace + _NEWS * seconds

    @property
    def depth(self) -> int:
        """How many batches a worker may hold: with two it never idles while the replies travel."""
        return 2 if self._pace is not None and self._pace <= _PIPELINED_SECONDS else 1

    def _most(self) -> int:
        if self._pace is None:
            return 1
        return min(_BATCH_JOBS, max(1, int(_BATCH_SECONDS / max(self._pace, 1e-9))))
