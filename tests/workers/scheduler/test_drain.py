"""A worker group calls `on_idle` when its last request has ended, however that ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.workers.stateful.group_harness import harness
from workers.errors import ModelLoadError
from workers.protocol.messages import Chunk, Job

if TYPE_CHECKING:
    from tests.workers.stateful.group_harness import GroupHarness

__all__ = ["harness"]

DRAIN_SECONDS = 1_000.0


@pytest.mark.parametrize("end", ["cancelled", "expired"])
def test_the_last_request_leaves_the_queue(harness: GroupHarness, end: str) -> None:
    """A drain does not wait for a replacement worker once the queue is empty."""
    harness.kill_worker("slow")
    request = harness.loop.create_task(harness.group.predict(Job(b"{}")))
    harness.loop.spin(2)
    assert harness.group.dispatcher.busy
    draining = harness.loop.create_task(harness.group.close(drain_seconds=DRAIN_SECONDS))
    harness.loop.spin(2)
    if end == "cancelled":
        request.cancel()
    else:
        harness.loop.advance(11.0)
        assert request.exception() is not None
    assert harness.is_done_within(draining, 2.0)
    assert harness.idle_count == 1


def test_the_last_request_fails_in_the_queue(harness: GroupHarness) -> None:
    """A drain ends when no worker can be started any more."""
    harness.kill_worker("fails", "fails")
    request = harness.loop.create_task(harness.group.predict(Job(b"{}")))
    harness.loop.spin(2)
    draining = harness.loop.create_task(harness.group.close(drain_seconds=DRAIN_SECONDS))
    assert harness.is_done_within(draining, 5.0)
    assert isinstance(request.exception(), ModelLoadError)


def test_the_worker_of_a_stream_dies_between_two_chunks(harness: GroupHarness) -> None:
    """The stream ends with the worker, and the drain does not wait for anything else."""
    opening = harness.loop.create_task(harness.group.stream(Job(b"{}")))
    harness.loop.spin(2)
    process = harness.forkserver.alive[0]
    assert process.take_batch()
    process.reply([Chunk(b"0")], 0.0)
    stream = harness.loop.run(asyncio.wait_for(opening, 1.0))
    assert harness.group.dispatcher.busy
    assert harness.idle_count == 0
    draining = harness.loop.create_task(harness.group.close(drain_seconds=DRAIN_SECONDS))
    harness.kill_worker()
    assert harness.is_done_within(draining, 2.0)
    assert harness.idle_count == 1
    harness.loop.call(stream.close)
