"""The queue of one model version: bounded, fair, and never handing out what nobody waits for."""

from __future__ import annotations

import asyncio

import pytest

from workers.batcher import Batcher, Ticket
from workers.errors import PoolClosed, QueueFull
from workers.messages import Job

SMALL = Job(b"{}")


def filled(count: int, *, pace: float | None = 0.0001, limit: int = 1000) -> tuple[Batcher, list[Ticket]]:
    batcher = Batcher(limit=limit)
    if pace is not None:
        batcher.learn(pace)
    return batcher, [batcher.put(SMALL) for _ in range(count)]


async def test_takes_what_waits_in_order() -> None:
    """A batch is whatever waits, first come first."""
    batcher, tickets = filled(3)
    assert batcher.take() == tickets
    assert batcher.waiting == 0
    assert batcher.take() == []


async def test_an_unknown_pace_gives_one_at_a_time() -> None:
    """Before anything is known of a model, a batch could be of any length: it is one job."""
    batcher, tickets = filled(3, pace=None)
    assert batcher.take() == tickets[:1]
    assert batcher.depth == 1


@pytest.mark.parametrize(("pace", "jobs", "depth"), [(1.0, 1, 1), (0.01, 5, 2), (0.000001, 256, 2)])
async def test_a_batch_is_as_long_as_the_models_pace_allows(pace: float, jobs: int, depth: int) -> None:
    """Slow models get short batches and no second one waiting in the pipe; fast ones long ones."""
    batcher, _ = filled(300, pace=pace)
    assert len(batcher.take()) == jobs
    assert batcher.depth == depth


async def test_a_batch_is_bounded_in_bytes() -> None:
    """Large bodies do not travel together; one that is larger than the bound still goes."""
    batcher = Batcher(limit=10)
    batcher.learn(0.0001)
    large = [batcher.put(Job(bytes(5 * 2**20))) for _ in range(2)]
    assert batcher.take() == large[:1]
    huge = Job(bytes(20 * 2**20))
    batcher.take()
    ticket = batcher.put(huge)
    assert batcher.take() == [ticket]


async def test_a_full_queue_refuses_at_once() -> None:
    """More than the limit never waits; a place that is freed can be taken."""
    batcher, tickets = filled(2, limit=2)
    with pytest.raises(QueueFull):
        batcher.put(SMALL)
    batcher.withdraw(tickets[0])
    batcher.put(SMALL)
    assert batcher.waiting == 2


async def test_a_withdrawn_job_is_not_handed_out() -> None:
    """Whoever goes away takes the queued job with them; the others keep their order."""
    batcher, tickets = filled(3)
    batcher.withdraw(tickets[1])
    batcher.withdraw(tickets[1])
    assert batcher.waiting == 2
    assert batcher.take() == [tickets[0], tickets[2]]
    assert tickets[1].future.cancelled()


async def test_withdrawing_what_was_handed_out_changes_nothing() -> None:
    """A job that runs cannot be taken back."""
    batcher, tickets = filled(1)
    batcher.take()
    batcher.withdraw(tickets[0])
    assert batcher.waiting == 0
    assert not tickets[0].future.done()


async def test_what_a_worker_died_of_comes_back_first_and_alone() -> None:
    """A suspect cannot take others with it; what is answered already is not run again."""
    batcher, tickets = filled(4)
    batch = batcher.take()[:3]
    batch[0].deaths = 1
    batch[1].future.cancel()
    batcher.put(SMALL)
    batcher.give_back(batch)
    assert batcher.waiting == 3
    assert batcher.take() == [tickets[0]]
    assert tickets[2] in batcher.take()


async def test_a_suspect_is_left_for_a_batch_of_its_own() -> None:
    """A suspect in the middle ends the batch before it."""
    batcher, tickets = filled(3)
    tickets[1].deaths = 1
    assert batcher.take() == [tickets[0]]
    assert batcher.take() == [tickets[1]]
    assert batcher.take() == [tickets[2]]


async def test_failing_answers_all_that_wait() -> None:
    """Nobody is left waiting when the queue is given up."""
    batcher, tickets = filled(2)
    tickets[0].future.cancel()
    batcher.fail(PoolClosed("closed"))
    assert batcher.waiting == 0
    with pytest.raises(PoolClosed):
        await asyncio.wait_for(tickets[1].future, 1)
