"""Jobs of one model version waiting in a bounded queue; hands them out in batches."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from workers.errors import QueueFull
from workers.protocol.messages import Open

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workers.protocol.messages import Ask, Job

_BATCH_BYTES = 256 * 1024
"""No body makes a batch larger than this, so that small ones do not wait for the reading of a large one."""


class Ticket:
    """A job and the future that its caller waits on, of a Reply or, where it is part of a stream, a Chunk.

    It is `suspect` where a worker died while it ran it, perhaps with others; `deaths` counts the workers
    that died while they ran nothing else. What asks an open stream for more is never `queued`: it belongs to
    one worker.
    """

    __slots__ = ("deaths", "future", "job", "queued", "spared", "suspect", "weight")

    def __init__(
        self, job: Ask, future: asyncio.Future[Any], *, weight: int = 0, queued: bool = True
    ) -> None:
        self.job = job
        self.future = future
        self.weight = weight
        self.suspect = False
        self.deaths = 0
        self.spared = 0
        self.queued = queued

    @property
    def alone(self) -> bool:
        """Whether it shares no batch: a worker may have died of it, or is its stream's from then on."""
        return self.suspect or type(self.job) is Open


class Batcher:
    """A queue that grows no longer than `limit`.

    A batch never waits for company: it is whatever waits when a worker is free.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._tickets: deque[Ticket] = deque()

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._tickets)

    def put(self, ask: Job | Open) -> Ticket:
        """Queue a job. Raises QueueFull."""
        if self.waiting >= self._limit:
            raise QueueFull(f"{self.waiting} requests already wait for this version.")
        job = ask.job if type(ask) is Open else ask
        ticket = Ticket(ask, self._loop.create_future(), weight=len(job.body))  # type: ignore[union-attr] # a job
        self._tickets.append(ticket)
        return ticket

    def withdraw(self, ticket: Ticket) -> None:
        """Forget a job that nobody waits for any more; nothing happens where it was handed out."""
        if ticket.queued:
            ticket.queued = False
            self._tickets.remove(ticket)  # its body goes with it, however long the model is busy
            if not ticket.future.done():
                ticket.future.cancel()

    def take(self, most: int) -> list[Ticket]:
        """The next batch, of at most so many jobs; empty where nothing waits.

        A suspect goes alone, so that it cannot take others with it, and is known by that; one that opens
        a stream too, since the worker is the stream's from then on.
        """
        batch: list[Ticket] = []
        size = 0
        while self._tickets and len(batch) < most:
            ticket = self._tickets[0]
            size += ticket.weight
            if batch and (size > _BATCH_BYTES or ticket.alone):
                break
            self._tickets.popleft()
            ticket.queued = False
            batch.append(ticket)
            if ticket.alone:
                break
        return batch

    def give_back(self, tickets: Iterable[Ticket]) -> None:
        """Queue again, in front, what a worker that died had been given."""
        for ticket in reversed([ticket for ticket in tickets if not ticket.future.done()]):
            ticket.queued = True
            self._tickets.appendleft(ticket)

    def fail(self, error: Exception) -> None:
        """Answer everything that waits with `error`."""
        for ticket in self._tickets:
            if not ticket.future.done():
                ticket.future.set_exception(error)
            ticket.queued = False
        self._tickets.clear()
