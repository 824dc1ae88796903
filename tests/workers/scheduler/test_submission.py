"""Requests whose outcome is given to a function: each gets one outcome, and leaves nothing behind."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from tests.support.waiting import until
from tests.workers.scheduler.test_queue import MANY, SMALL, Harness
from workers.errors import ModelError, PoolClosed, PredictionTimeout, QueueFull
from workers.metrics import PREDICTIONS_ABANDONED
from workers.protocol.messages import Reply
from workers.scheduler.results import reject, resolve_batch

REPLY = Reply(b"[1]", 0.5)


def abandoned(harness: Harness, reason: str) -> int:
    """Return how many requests were counted as given up for this reason."""
    return harness.counters.counts[PREDICTIONS_ABANDONED, ("m", "1", reason)]


async def test_the_function_gets_the_reply_or_the_error() -> None:
    """Once, and at once."""
    harness, outcomes = Harness(), list[Any]()
    for _ in range(2):
        harness.queue.submit(SMALL, outcomes.append)
    first, second = harness.queue.next_batch(MANY)
    resolve_batch([first], [REPLY])
    assert outcomes == [REPLY]
    error = ModelError("no")
    reject([second], error)
    reject([second], ModelError("again"))
    assert outcomes == [REPLY, error]


async def test_a_full_queue_refuses_at_once() -> None:
    """The function is not called then."""
    harness, outcomes = Harness(limit=1), list[Any]()
    harness.queue.submit(SMALL, outcomes.append)
    with pytest.raises(QueueFull):
        harness.queue.submit(SMALL, outcomes.append)
    assert outcomes == []


async def test_a_request_times_out_whether_it_is_queued_or_not() -> None:
    """One that is queued leaves the queue, and is counted."""
    harness, outcomes = Harness(request_seconds=0.05), list[Any]()
    harness.queue.submit(SMALL, outcomes.append)
    (running,) = harness.queue.next_batch(MANY)
    harness.queue.submit(SMALL, outcomes.append)
    await until(lambda: len(outcomes) == 2)
    assert {type(outcome) for outcome in outcomes} == {PredictionTimeout}
    assert (harness.queue.waiting, harness.reported) == (0, 1)
    assert abandoned(harness, "timeout") == 1
    resolve_batch([running], [REPLY])  # a late reply is dropped
    assert len(outcomes) == 2


async def test_a_cancelled_request_never_runs_and_its_function_is_never_called() -> None:
    """The reply to one that runs already is dropped."""
    harness, outcomes = Harness(), list[Any]()
    running = harness.queue.submit(SMALL, outcomes.append)
    batch = harness.queue.next_batch(MANY)
    queued = harness.queue.submit(SMALL, outcomes.append)
    for submission in (running, queued, queued):
        submission.cancel()
        assert submission.done()
    assert (harness.queue.waiting, harness.reported) == (0, 1)
    assert abandoned(harness, "disconnect") == 1
    resolve_batch(batch, [REPLY])
    assert outcomes == []


async def test_all_that_are_queued_can_be_rejected() -> None:
    """As when the model is unloaded; the queue is empty when the first function is called."""
    harness = Harness()
    seen: list[tuple[type, int]] = []
    for _ in range(3):
        harness.queue.submit(SMALL, lambda outcome: seen.append((type(outcome), harness.queue.waiting)))
    harness.queue.reject_all(PoolClosed("closed"))
    assert seen == [(PoolClosed, 0)] * 3
    assert harness.reported == 0


@pytest.mark.parametrize("end", ["reply", "error", "cancel"])
async def test_a_request_that_is_done_is_forgotten(end: str) -> None:
    """The timers of requests live for a minute, and the collector of cycles runs rarely: neither keeps it."""
    harness = Harness()

    def on_done(_: object) -> None:
        """Take no note of it."""

    gone = weakref.ref(on_done)
    gc.disable()
    try:
        submission = harness.queue.submit(SMALL, on_done)
        batch = harness.queue.next_batch(MANY)
        if end == "reply":
            resolve_batch(batch, [REPLY])
        elif end == "error":
            reject(batch, ModelError("no"))
        else:
            submission.cancel()
        del submission, batch, on_done
        assert gone() is None
    finally:
        gc.enable()
