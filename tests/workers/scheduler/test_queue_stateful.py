"""The request queue compared with a plain list: no order of operations loses or doubles a request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.workers.conftest import key
from workers.errors import PoolClosed, QueueFull
from workers.limits import PoolLimits
from workers.metrics import Counters
from workers.protocol.messages import Job, OpenStream
from workers.scheduler.queue import RequestQueue

if TYPE_CHECKING:
    from workers.pending_request import PendingRequest

LIMIT = 6
BATCH_BYTES = 256 * 1024
SIZES = st.sampled_from([1, 100 * 1024, 150 * 1024, 300 * 1024])
INDEXES = st.integers(0, 1_000)  # modulo the number of those to choose from


class QueueMachine(RuleBasedStateMachine):
    """Requests are put, discarded, handed out, answered, requeued, rejected; `waiting` is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.waiting: list[PendingRequest] = []
        self.running: list[list[PendingRequest]] = []
        self.gone: list[PendingRequest] = []
        self.queue = self.loop.run_until_complete(self.create_queue())

    @staticmethod
    async def create_queue() -> RequestQueue:
        limits = PoolLimits(max_queue=LIMIT)
        return RequestQueue(
            key("m"),
            limits,
            counters=Counters(),
            seconds_per_request=lambda: 0.0,
            on_drop=lambda: None,
        )

    def teardown(self) -> None:
        self.loop.close()

    @initialize(max_size=st.integers(0, LIMIT))
    def begin(self, max_size: int) -> None:
        """Some run and some wait, since most operations need both."""
        for _ in range(LIMIT):
            self.put(1, 1)
        self.take(max_size)

    @rule(size=SIZES, opens=st.integers(0, 3))
    def put(self, size: int, opens: int) -> None:
        """A request is queued last, or rejected if the queue is full."""
        job = Job(bytes(size))
        request = job if opens else OpenStream(job, 1)
        if len(self.waiting) >= LIMIT:
            with pytest.raises(QueueFull):
                self.queue.put(request)
            return
        pending = self.queue.put(request)
        assert pending.request is request
        assert not pending.future.done()
        self.waiting.append(pending)

    @precondition(lambda self: self.waiting)
    @rule(index=INDEXES)
    def discard(self, index: int) -> None:
        """The client of a queued request left."""
        pending = self.waiting.pop(index % len(self.waiting))
        self.queue.discard(pending)
        assert pending.future.cancelled()
        self.gone.append(pending)

    @precondition(lambda self: self.running or self.gone)
    @rule(index=INDEXES)
    def discard_what_is_not_queued(self, index: int) -> None:
        """Nothing happens."""
        others = [*self.gone, *(pending for batch in self.running for pending in batch)]
        pending = others[index % len(others)]
        done = pending.future.done()
        self.queue.discard(pending)
        assert pending.future.done() == done

    @rule(max_size=st.integers(0, 8))
    def take(self, max_size: int) -> None:
        """A batch is the longest run of requests at the front that may travel together."""
        batch = self.queue.next_batch(max_size)
        assert batch == self.waiting[: len(batch)]
        assert len(batch) == self.expected_size(max_size)
        del self.waiting[: len(batch)]
        if batch:
            self.running.append(batch)

    @precondition(lambda self: self.running)
    @rule(index=INDEXES, answered=st.integers(0, 8))
    def answer(self, index: int, answered: int) -> None:
        """The first requests of a batch are answered; the others still run."""
        for pending in self.running[index % len(self.running)][:answered]:
            if not pending.future.done():
                pending.future.set_result(None)

    @precondition(lambda self: self.running)
    @rule(index=INDEXES, suspect=st.booleans())
    def requeue(self, index: int, suspect: bool) -> None:
        """A worker crashed: its unanswered requests wait again, in front of all others."""
        batch = self.running.pop(index % len(self.running))
        for pending in batch:
            pending.crash_suspect |= suspect
        self.queue.requeue_front(batch)
        self.waiting[:0] = [pending for pending in batch if not pending.future.done()]
        self.gone += [pending for pending in batch if pending.future.done()]

    @rule()
    def reject_all(self) -> None:
        """All that wait are rejected; what runs is not touched."""
        error = PoolClosed("closed")
        running = [pending.future.done() for batch in self.running for pending in batch]
        self.queue.reject_all(error)
        assert [pending.future.exception() for pending in self.waiting] == [error] * len(self.waiting)
        assert [pending.future.done() for batch in self.running for pending in batch] == running
        self.gone += self.waiting
        self.waiting.clear()

    @invariant()
    def the_numbers_agree(self) -> None:
        """As many wait as should, and none of them has an answer."""
        assert self.queue.waiting == len(self.waiting)
        assert not any(pending.future.done() for pending in self.waiting)

    def expected_size(self, max_size: int) -> int:
        """Return the size of the next batch by the rules in words."""
        count = size = 0
        for pending in self.waiting[:max_size]:
            request = pending.request
            alone = pending.crash_suspect or isinstance(request, OpenStream)
            size += len(request.job.body if isinstance(request, OpenStream) else request.body)  # type: ignore[union-attr] # a job
            if count and (alone or size > BATCH_BYTES):
                break
            count += 1
            if alone:
                break
        return count


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
