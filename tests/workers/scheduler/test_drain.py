"""A worker group calls `on_idle` when its last request has ended, however that ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.workers.stateful.show import show
from workers.errors import ModelLoadError
from workers.protocol.messages import Chunk, Job

if TYPE_CHECKING:
    from tests.workers.stateful.show import Show

__all__ = ["show"]

DRAIN_SECONDS = 1_000.0


@pytest.mark.parametrize("end", ["cancelled", "expired"])
def test_the_last_request_leaves_the_queue(show: Show, end: str) -> None:
    """A drain does not wait for a replacement worker once the queue is empty."""
    show.lose_the_worker("slow")
    request = show.loop.create_task(show.crew.predict(Job(b"{}")))
    show.loop.turn(2)
    assert show.crew.busy
    draining = show.loop.create_task(show.crew.close(drain_seconds=DRAIN_SECONDS))
    show.loop.turn(2)
    if end == "cancelled":
        request.cancel()
    else:
        show.loop.wait(11.0)
        assert request.exception() is not None
    assert show.is_closed_within(draining, 2.0)
    assert show.idles == 1


def test_the_last_request_fails_in_the_queue(show: Show) -> None:
    """A drain ends when no worker can be started any more."""
    show.lose_the_worker("fails", "fails")
    request = show.loop.create_task(show.crew.predict(Job(b"{}")))
    show.loop.turn(2)
    draining = show.loop.create_task(show.crew.close(drain_seconds=DRAIN_SECONDS))
    assert show.is_closed_within(draining, 5.0)
    assert isinstance(request.exception(), ModelLoadError)


def test_the_worker_of_a_stream_dies_between_two_chunks(show: Show) -> None:
    """The stream ends with the worker, and the drain does not wait for anything else."""
    opening = show.loop.create_task(show.crew.stream(Job(b"{}")))
    show.loop.turn(2)
    process = show.stage.alive[0]
    assert process.take()
    process.answer([Chunk(b"0")], 0.0)
    stream = show.loop.run(asyncio.wait_for(opening, 1.0))
    assert show.crew.busy
    assert show.idles == 0
    draining = show.loop.create_task(show.crew.close(drain_seconds=DRAIN_SECONDS))
    show.lose_the_worker()
    assert show.is_closed_within(draining, 2.0)
    assert show.idles == 1
    show.loop.do(stream.close)
