"""The request queue: bounded, in order, and never handing out a request that no client waits for."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING

import pytest

from tests.workers.conftest import key
from workers.errors import PoolClosed, PredictionTimeout, QueueFull
from workers.limits import PoolLimits
from workers.metrics import PREDICTIONS_ABANDONED, QUEUE_REJECTIONS, Counters
from workers.protocol.messages import Job, OpenStream
from workers.scheduler.queue import RequestQueue

if TYPE_CHECKING:
    from workers.pending_request import PendingRequest

SMALL = Job(b"{}")
MANY = 256


class Harness:
    """A queue, its counters, and the number of requests that it reported as dropped."""

    def __init__(self, *, limit: int = 1000, request_seconds: float = 60.0) -> None:
        self.reported = 0
        self.seconds_per_request = 0.0
        self.counters = Counters()
        self.queue = RequestQueue(
            key("m"),
            PoolLimits(max_queue=limit, request_seconds=request_seconds),
            counters=self.counters,
            seconds_per_request=lambda: self.seconds_per_request,
            on_drop=self._report,
        )

    def _report(self) -> None:
        self.reported += 1


def filled(count: int, *, limit: int = 1000) -> tuple[RequestQueue, list[PendingRequest]]:
    queue = Harness(limit=limit).queue
    return queue, [queue.put(SMALL) for _ in range(count)]


async def test_a_batch_is_what_waits_in_order() -> None:
    """The first request to come is the first to leave."""
    queue, requests = filled(3)
    assert queue.waiting == 3
    assert queue.next_batch(MANY) == requests
    assert queue.waiting == 0
    assert queue.next_batch(MANY) == []


async def test_a_batch_is_bounded_in_number() -> None:
    """The rest waits for the next batch, in order; a batch of none is empty."""
    queue, requests = filled(5)
    assert queue.next_batch(0) == []
    assert queue.next_batch(2) == requests[:2]
    assert queue.waiting == 3
    assert queue.next_batch(2) == requests[2:4]
    assert queue.next_batch(2) == requests[4:]


async def test_a_batch_is_bounded_in_bytes() -> None:
    """Large bodies travel neither together nor with small ones; one above the bound travels alone."""
    queue, _ = filled(0)
    half = [queue.put(Job(bytes(128 * 1024))) for _ in range(3)]
    assert queue.next_batch(MANY) == half[:2]
    huge = queue.put(Job(bytes(20 * 2**20)))
    small = queue.put(SMALL)
    assert queue.next_batch(MANY) == half[2:]
    assert queue.next_batch(MANY) == [huge]
    assert queue.next_batch(MANY) == [small]


async def test_a_request_that_opens_a_stream_runs_alone() -> None:
    """The stream then has the worker to itself. The others keep their order, and its size counts."""
    queue, _ = filled(0)
    requests: list[Job | OpenStream] = [
        SMALL,
        OpenStream(SMALL, 1),
        OpenStream(Job(bytes(300 * 1024)), 2),
        SMALL,
        SMALL,
    ]
    pending = [queue.put(request) for request in requests]
    assert pending[2].size == 300 * 1024
    batches = [queue.next_batch(MANY) for _ in range(4)]
    assert batches == [pending[:1], pending[1:2], pending[2:3], pending[3:]]


async def test_a_full_queue_rejects_at_once() -> None:
    """No more than the limit wait, each rejection is counted, and a place that is freed can be taken."""
    harness = Harness(limit=2)
    first, _ = harness.queue.put(SMALL), harness.queue.put(SMALL)
    with pytest.raises(QueueFull, match="2 requests wait"):
        harness.queue.put(SMALL)
    assert harness.counters.value(QUEUE_REJECTIONS, "m", "1") == 1
    harness.queue.discard(first)
    harness.queue.put(SMALL)
    assert harness.queue.waiting == 2


async def test_a_request_that_would_wait_too_long_is_rejected() -> None:
    """The error says how long the wait is; an empty queue takes a request however slow the model is."""
    harness = Harness(request_seconds=10.0)
    harness.seconds_per_request = 4.0
    for _ in range(3):
        harness.queue.put(SMALL)
    with pytest.raises(QueueFull, match="3 requests wait for this version, about 12 s") as rejected:
        harness.queue.put(SMALL)
    assert rejected.value.wait_seconds == 12.0
    harness.queue.next_batch(MANY)
    harness.seconds_per_request = 100.0
    harness.queue.put(SMALL)


async def test_a_cancelled_or_expired_client_takes_its_request_along() -> None:
    """The request leaves the queue, is counted, and its leaving is reported."""
    harness = Harness(request_seconds=0.01)
    cancelled, expired = (
        asyncio.create_task(harness.queue.wait_reply(harness.queue.put(SMALL))) for _ in range(2)
    )
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(PredictionTimeout):
        await asyncio.wait_for(expired, 30)
    assert harness.queue.waiting == 0
    assert harness.reported == 2
    for reason in ("disconnect", "timeout"):
        assert harness.counters.value(PREDICTIONS_ABANDONED, "m", "1", reason) == 1
    harness.queue.close()


async def test_a_discarded_request_is_not_handed_out() -> None:
    """Its client left; the other requests keep their order."""
    queue, requests = filled(3)
    queue.discard(requests[1])
    queue.discard(requests[1])
    assert queue.waiting == 2
    assert queue.next_batch(MANY) == [requests[0], requests[2]]
    assert requests[1].future.cancelled()


async def test_discarding_a_request_that_was_handed_out_changes_nothing() -> None:
    """A request that runs cannot be taken back."""
    queue, requests = filled(1)
    queue.next_batch(MANY)
    queue.discard(requests[0])
    assert queue.waiting == 0
    assert not requests[0].future.done()


async def test_a_crash_suspect_comes_back_first_and_alone() -> None:
    """It can crash no other request; one that is answered already does not run again."""
    queue, requests = filled(4)
    batch = queue.next_batch(3)
    batch[0].crash_suspect = True
    batch[1].future.cancel()
    queue.put(SMALL)
    queue.requeue_front(batch)
    assert queue.waiting == 4
    assert queue.next_batch(MANY) == [requests[0]]
    queue.discard(requests[2])
    assert queue.waiting == 2
    assert queue.next_batch(MANY)[0] == requests[3]


async def test_a_crash_suspect_is_left_for_a_batch_of_its_own() -> None:
    """A suspect in the middle ends the batch before it."""
    queue, requests = filled(3)
    requests[1].crash_suspect = True
    assert queue.next_batch(MANY) == [requests[0]]
    assert queue.next_batch(MANY) == [requests[1]]
    assert queue.next_batch(MANY) == [requests[2]]


async def test_a_discarded_request_is_freed() -> None:
    """While the model is busy clients come and go; the bodies of those that left are not kept."""
    queue, requests = filled(1)
    for _ in range(100):
        queue.discard(discarded := queue.put(Job(bytes(1024))))
    future = weakref.ref(discarded.future)
    del discarded
    assert future() is None
    assert queue.next_batch(MANY) == requests


async def test_a_rejected_queue_answers_all_that_wait() -> None:
    """No client waits on; one that was cancelled before stays so."""
    queue, requests = filled(2)
    requests[0].future.cancel()
    queue.reject_all(PoolClosed("closed"))
    assert queue.waiting == 0
    with pytest.raises(PoolClosed):
        await asyncio.wait_for(requests[1].future, 30)
