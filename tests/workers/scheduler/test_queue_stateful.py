"""The queue held against a plain list: whatever is done to it, in any order, no job is lost or doubled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from workers.errors import PoolClosed, QueueFull
from workers.protocol.messages import Job, OpenStream
from workers.scheduler.queue import RequestQueue

if TYPE_CHECKING:
    from workers.scheduler.queue import PendingRequest

LIMIT = 6
BATCH_BYTES = 256 * 1024
SIZES = st.sampled_from([1, 100 * 1024, 150 * 1024, 300 * 1024])
PLACES = st.integers(0, 1_000)  # of one among those there are


class Queue(RuleBasedStateMachine):
    """Jobs are put, withdrawn, handed out, answered, given back, failed; `waiting` is who should wait."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.waiting: list[PendingRequest] = []
        self.running: list[list[PendingRequest]] = []
        self.gone: list[PendingRequest] = []
        self.batcher = self.loop.run_until_complete(self.made())

    @staticmethod
    async def made() -> RequestQueue:
        return RequestQueue(limit=LIMIT)

    def teardown(self) -> None:
        self.loop.close()

    @initialize(most=st.integers(0, LIMIT))
    def begin(self, most: int) -> None:
        """Some run and some wait, since most of what can happen needs both."""
        for _ in range(LIMIT):
            self.put(1, 1)
        self.take(most)

    @rule(size=SIZES, opens=st.integers(0, 3))
    def put(self, size: int, opens: int) -> None:
        """Queued last; refused where as many wait as may."""
        job = Job(bytes(size))
        ask = job if opens else OpenStream(job, 1)
        if len(self.waiting) >= LIMIT:
            with pytest.raises(QueueFull):
                self.batcher.put(ask)
            return
        ticket = self.batcher.put(ask)
        assert ticket.request is ask
        assert not ticket.future.done()
        self.waiting.append(ticket)

    @precondition(lambda self: self.waiting)
    @rule(place=PLACES)
    def withdraw(self, place: int) -> None:
        """Its caller went away."""
        ticket = self.waiting.pop(place % len(self.waiting))
        self.batcher.discard(ticket)
        assert ticket.future.cancelled()
        self.gone.append(ticket)

    @precondition(lambda self: self.running or self.gone)
    @rule(place=PLACES)
    def withdraw_what_does_not_wait(self, place: int) -> None:
        """Nothing happens."""
        others = [*self.gone, *(ticket for batch in self.running for ticket in batch)]
        ticket = others[place % len(others)]
        done = ticket.future.done()
        self.batcher.discard(ticket)
        assert ticket.future.done() == done

    @rule(most=st.integers(0, 8))
    def take(self, most: int) -> None:
        """The longest row of those in front that may travel together."""
        batch = self.batcher.next_batch(most)
        assert batch == self.waiting[: len(batch)]
        assert len(batch) == self.expected(most)
        del self.waiting[: len(batch)]
        if batch:
            self.running.append(batch)

    @precondition(lambda self: self.running)
    @rule(place=PLACES, answered=st.integers(0, 8))
    def answer(self, place: int, answered: int) -> None:
        """The first jobs of a batch are done; the others still run."""
        for ticket in self.running[place % len(self.running)][:answered]:
            if not ticket.future.done():
                ticket.future.set_result(None)

    @precondition(lambda self: self.running)
    @rule(place=PLACES, blamed=st.booleans())
    def give_back(self, place: int, blamed: bool) -> None:
        """A worker died: what it had not answered waits again, in front of all others."""
        batch = self.running.pop(place % len(self.running))
        for ticket in batch:
            ticket.crash_suspect |= blamed
        self.batcher.requeue_front(batch)
        self.waiting[:0] = [ticket for ticket in batch if not ticket.future.done()]
        self.gone += [ticket for ticket in batch if ticket.future.done()]

    @rule()
    def fail(self) -> None:
        """All who wait are told; what runs is not touched."""
        error = PoolClosed("closed")
        running = [ticket.future.done() for batch in self.running for ticket in batch]
        self.batcher.reject_all(error)
        assert [ticket.future.exception() for ticket in self.waiting] == [error] * len(self.waiting)
        assert [ticket.future.done() for batch in self.running for ticket in batch] == running
        self.gone += self.waiting
        self.waiting.clear()

    @invariant()
    def counts(self) -> None:
        """As many wait as should, and nobody who waits has an answer."""
        assert self.batcher.waiting == len(self.waiting)
        assert not any(ticket.future.done() for ticket in self.waiting)

    def expected(self, most: int) -> int:
        """How many of those that wait may be the next batch, by the rules in words."""
        count = size = 0
        for ticket in self.waiting[:most]:
            job = ticket.request
            alone = ticket.crash_suspect or isinstance(job, OpenStream)
            size += len(job.job.body if isinstance(job, OpenStream) else job.body)  # type: ignore[union-attr] # a job
            if count and (alone or size > BATCH_BYTES):
                break
            count += 1
            if alone:
                break
        return count


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
