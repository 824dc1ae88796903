"""The queue of one model version: bounded, fair, and never handing out what nobody waits for."""

from __future__ import annotations

import asyncio
import weakref

import pytest

from workers.errors import PoolClosed, QueueFull
from workers.protocol.messages import Job, OpenStream
from workers.scheduler.queue import PendingRequest, RequestQueue

SMALL = Job(b"{}")
MANY = 256


def filled(count: int, *, limit: int = 1000) -> tuple[RequestQueue, list[PendingRequest]]:
    batcher = RequestQueue(limit=limit)
    return batcher, [batcher.put(SMALL) for _ in range(count)]


async def test_takes_what_waits_in_order() -> None:
    """A batch is whatever waits, first come first."""
    batcher, tickets = filled(3)
    assert batcher.waiting == 3
    assert batcher.next_batch(MANY) == tickets
    assert batcher.waiting == 0
    assert batcher.next_batch(MANY) == []


async def test_takes_no_more_than_is_asked_for() -> None:
    """The rest waits for the next batch, in order; nothing is handed out for none."""
    batcher, tickets = filled(5)
    assert batcher.next_batch(0) == []
    assert batcher.next_batch(2) == tickets[:2]
    assert batcher.waiting == 3
    assert batcher.next_batch(2) == tickets[2:4]
    assert batcher.next_batch(2) == tickets[4:]


async def test_a_batch_is_bounded_in_bytes() -> None:
    """Large bodies do not travel together, nor with many small ones; one beyond the bound still goes."""
    batcher = RequestQueue(limit=10)
    half = [batcher.put(Job(bytes(128 * 1024))) for _ in range(3)]
    assert batcher.next_batch(MANY) == half[:2]
    huge = batcher.put(Job(bytes(20 * 2**20)))
    small = batcher.put(SMALL)
    assert batcher.next_batch(MANY) == half[2:]
    assert batcher.next_batch(MANY) == [huge]
    assert batcher.next_batch(MANY) == [small]


async def test_what_opens_a_stream_goes_alone() -> None:
    """The worker is the stream's from then on; those around it keep their order, and its size counts."""
    batcher = RequestQueue(limit=10)
    asks: list[Job | OpenStream] = [
        SMALL,
        OpenStream(SMALL, 1),
        OpenStream(Job(bytes(300 * 1024)), 2),
        SMALL,
        SMALL,
    ]
    tickets = [batcher.put(ask) for ask in asks]
    assert tickets[2].size == 300 * 1024
    batches = [batcher.next_batch(MANY) for _ in range(4)]
    assert batches == [tickets[:1], tickets[1:2], tickets[2:3], tickets[3:]]


async def test_a_full_queue_refuses_at_once() -> None:
    """More than the limit never waits; a place that is freed can be taken."""
    batcher, tickets = filled(2, limit=2)
    with pytest.raises(QueueFull):
        batcher.put(SMALL)
    batcher.discard(tickets[0])
    batcher.put(SMALL)
    assert batcher.waiting == 2


async def test_a_withdrawn_job_is_not_handed_out() -> None:
    """Whoever goes away takes the queued job with them; the others keep their order."""
    batcher, tickets = filled(3)
    batcher.discard(tickets[1])
    batcher.discard(tickets[1])
    assert batcher.waiting == 2
    assert batcher.next_batch(MANY) == [tickets[0], tickets[2]]
    assert tickets[1].future.cancelled()


async def test_withdrawing_what_was_handed_out_changes_nothing() -> None:
    """A job that runs cannot be taken back."""
    batcher, tickets = filled(1)
    batcher.next_batch(MANY)
    batcher.discard(tickets[0])
    assert batcher.waiting == 0
    assert not tickets[0].future.done()


async def test_what_a_worker_died_of_comes_back_first_and_alone() -> None:
    """A suspect cannot take others with it; what is answered already is not run again."""
    batcher, tickets = filled(4)
    batch = batcher.next_batch(3)
    batch[0].crash_suspect = True
    batch[1].future.cancel()
    batcher.put(SMALL)
    batcher.requeue_front(batch)
    assert batcher.waiting == 4
    assert batcher.next_batch(MANY) == [tickets[0]]
    batcher.discard(tickets[2])
    assert batcher.waiting == 2
    assert batcher.next_batch(MANY)[0] == tickets[3]


async def test_a_suspect_is_left_for_a_batch_of_its_own() -> None:
    """A suspect in the middle ends the batch before it."""
    batcher, tickets = filled(3)
    tickets[1].crash_suspect = True
    assert batcher.next_batch(MANY) == [tickets[0]]
    assert batcher.next_batch(MANY) == [tickets[1]]
    assert batcher.next_batch(MANY) == [tickets[2]]


async def test_what_is_withdrawn_is_forgotten() -> None:
    """While the model is busy, callers come and go; the bodies of those who went are not kept."""
    batcher, tickets = filled(1)
    for _ in range(100):
        batcher.discard(gone := batcher.put(Job(bytes(1024))))
    seen = weakref.ref(gone.future)
    del gone
    assert seen() is None
    assert batcher.next_batch(MANY) == tickets


async def test_failing_answers_all_that_wait() -> None:
    """Nobody is left waiting when the queue is given up."""
    batcher, tickets = filled(2)
    tickets[0].future.cancel()
    batcher.reject_all(PoolClosed("closed"))
    assert batcher.waiting == 0
    with pytest.raises(PoolClosed):
        await asyncio.wait_for(tickets[1].future, 1)
