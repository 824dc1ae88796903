"""Which requests run again after a crash, and which are blamed for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.workers.stateful.group_harness import harness
from workers.errors import WorkerCrashed
from workers.protocol.messages import Job, Reply

if TYPE_CHECKING:
    from tests.workers.stateful.group_harness import GroupHarness

__all__ = ["harness"]


@pytest.mark.parametrize("order", ["request first", "exit first"])
def test_a_request_for_an_idle_worker_that_dies_runs_again(harness: GroupHarness, order: str) -> None:
    """The client notices nothing, whether the process ended before or after the batch was sent."""
    if order == "exit first":
        harness.loop.call(harness.forkserver.alive[0].die)  # the gateway does not know it yet
    client = harness.loop.create_task(harness.group.predict(Job(b"{}")))
    harness.loop.spin(2)
    for process in harness.forkserver.alive:
        harness.loop.call(process.die)
    harness.loop.advance(1.0)
    assert not client.done()
    (process,) = harness.forkserver.alive
    assert process.take_batch() == (Job(b"{}"),)
    process.reply([Reply(b"answer", 0.1)], 0.1)
    harness.loop.spin(3)
    assert client.result().body == b"answer"


@pytest.mark.parametrize("is_read", [True, False])
def test_a_request_that_crashes_two_workers_is_rejected(harness: GroupHarness, is_read: bool) -> None:
    """It runs once more, and its client then gets an error, also if no worker lives to read it."""
    client = harness.loop.create_task(harness.group.predict(Job(b"{}")))
    for _ in range(2):
        assert not client.done()
        harness.loop.advance(1.0)
        (process,) = harness.forkserver.alive
        if is_read:
            assert process.take_batch() == (Job(b"{}"),)
        harness.loop.call(process.die)
        harness.loop.advance(0.02)
    assert isinstance(client.exception(), WorkerCrashed)


def test_a_crash_of_a_batch_blames_no_request(harness: GroupHarness) -> None:
    """Its requests run alone the next time, and only a request that crashes two workers alone is rejected."""
    harness.loop.create_task(harness.group.predict(Job(b"{0}")))
    harness.loop.spin(3)
    (process,) = harness.forkserver.alive
    assert process.take_batch() == (Job(b"{0}"),)
    process.reply([Reply(b"answer", 0.001)], 0.001)  # so fast that the next requests share a batch
    harness.loop.spin(3)
    guilty, innocent = (
        harness.loop.create_task(harness.group.predict(Job(body))) for body in (b"{1}", b"{2}")
    )
    harness.loop.spin(3)
    assert process.take_batch() == (Job(b"{1}"), Job(b"{2}"))
    harness.loop.call(process.die)
    crashes_alone = 0
    for _ in range(3):
        harness.loop.advance(1.0)
        (process,) = harness.forkserver.alive
        if process.take_batch() == (Job(b"{1}"),):
            assert not guilty.done(), f"rejected after {crashes_alone} crashes alone"
            harness.loop.call(process.die)
            crashes_alone += 1
        else:
            process.reply([Reply(b"answer", 0.1)], 0.1)
    harness.loop.advance(1.0)
    assert crashes_alone == 2
    assert isinstance(guilty.exception(), WorkerCrashed)
    assert innocent.result().body == b"answer"
