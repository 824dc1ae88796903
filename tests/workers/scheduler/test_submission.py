"""Requests whose outcome is given to a function: each gets one outcome, and leaves nothing behind."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.waiting import until
from tests.workers.scheduler.test_queue import MANY, SMALL, Harness
from workers.errors import ModelError, PoolClosed, PredictionTimeout, QueueFull
from workers.metrics import PREDICTIONS_ABANDONED, QUEUE_REJECTIONS
from workers.protocol.messages import Job, Reply
from workers.scheduler.results import reject, resolve_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workers.submission import Submission

REPLY = Reply(b"[1]", 0.5)


def submit(harness: Harness, on_outcome: Callable[[Any], None]) -> Submission:
    """Submit one small job."""
    (submission,) = harness.queue.submit([1], [SMALL], lambda _, outcome: on_outcome(outcome))
    return submission


def abandoned(harness: Harness, reason: str) -> int:
    """Return how many requests were counted as given up for this reason."""
    return harness.counters.counts[PREDICTIONS_ABANDONED, ("m", "1", reason)]


async def test_the_function_gets_the_reply_or_the_error() -> None:
    """Once, and at once."""
    harness, outcomes = Harness(), list[Any]()
    for _ in range(2):
        submit(harness, outcomes.append)
    first, second = harness.queue.next_batch(MANY)
    resolve_batch([first], [REPLY])
    assert outcomes == [REPLY]
    error = ModelError("no")
    reject([second], error)
    reject([second], ModelError("again"))
    assert outcomes == [REPLY, error]


async def test_a_full_queue_refuses_the_last_ones_at_once() -> None:
    """The others are queued, in order; each refusal is counted and names how many wait."""
    harness, outcomes = Harness(limit=3), list[tuple[int, Any]]()

    def submit_three(*ids: int) -> list[Submission]:
        jobs = [Job(str(job_id).encode()) for job_id in ids]
        return harness.queue.submit(ids, jobs, lambda *outcome: outcomes.append(outcome))

    assert len(submit_three(1, 2)) == 2
    assert outcomes == []
    (third,) = submit_three(3, 4, 5)
    assert [(job_id, str(error)) for job_id, error in outcomes] == [
        (job_id, "3 requests wait for this version.") for job_id in (4, 5)
    ]
    assert all(type(error) is QueueFull for _, error in outcomes)
    assert submit_three(6) == []
    assert harness.counters.counts[QUEUE_REJECTIONS, ("m", "1")] == 3
    batch = harness.queue.next_batch(MANY)
    assert [pending.request for pending in batch] == [Job(b"1"), Job(b"2"), Job(b"3")]
    assert batch[-1] is third


@pytest.mark.parametrize("groups", [[range(6)], [[number] for number in range(6)]])
async def test_as_many_are_queued_as_can_be_answered_in_time(groups: list[Sequence[int]]) -> None:
    """Submitted one by one or together."""
    harness, outcomes = Harness(request_seconds=1.0), list[tuple[int, Any]]()
    harness.seconds_per_request = 0.3
    for ids in groups:
        harness.queue.submit(ids, [SMALL] * len(ids), lambda *outcome: outcomes.append(outcome))
    assert harness.queue.waiting == 4
    assert [job_id for job_id, _ in outcomes] == [4, 5]
    assert "about 1 s" in str(outcomes[0][1])


async def test_a_request_times_out_whether_it_is_queued_or_not() -> None:
    """One that is queued leaves the queue, and is counted."""
    harness, outcomes = Harness(request_seconds=0.05), list[Any]()
    submit(harness, outcomes.append)
    (running,) = harness.queue.next_batch(MANY)
    submit(harness, outcomes.append)
    await until(lambda: len(outcomes) == 2)
    assert {type(outcome) for outcome in outcomes} == {PredictionTimeout}
    assert (harness.queue.waiting, harness.reported) == (0, 1)
    assert abandoned(harness, "timeout") == 1
    resolve_batch([running], [REPLY])  # a late reply is dropped
    assert len(outcomes) == 2


async def test_a_cancelled_request_never_runs_and_its_function_is_never_called() -> None:
    """The reply to one that runs already is dropped."""
    harness, outcomes = Harness(), list[Any]()
    running = submit(harness, outcomes.append)
    batch = harness.queue.next_batch(MANY)
    queued = submit(harness, outcomes.append)
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
        submit(harness, lambda outcome: seen.append((type(outcome), harness.queue.waiting)))
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
        submission = submit(harness, on_done)
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
