"""Proves that a crew tells when nothing is left to be done, however the last job ended."""

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

DRAIN = 1_000.0


@pytest.mark.parametrize("end", ["cancelled", "expired"])
def test_the_last_job_leaves_the_queue(show: Show, end: str) -> None:
    """Nobody has to wait for a worker that is being started anew, once nobody waits in the queue."""
    show.lose_the_worker("slow")
    asked = show.loop.create_task(show.crew.predict(Job(b"{}")))
    show.loop.turn(2)
    assert show.crew.busy
    draining = show.loop.create_task(show.crew.close(drain_seconds=DRAIN))
    show.loop.turn(2)
    if end == "cancelled":
        asked.cancel()
    else:
        show.loop.wait(11.0)
        assert asked.exception() is not None
    assert show.is_closed_within(draining, 2.0)
    assert show.idles == 1


def test_the_last_job_fails_in_the_queue(show: Show) -> None:
    """Where no worker can be had any more, a crew that drains has nothing to wait for."""
    show.lose_the_worker("fails", "fails")
    asked = show.loop.create_task(show.crew.predict(Job(b"{}")))
    show.loop.turn(2)
    draining = show.loop.create_task(show.crew.close(drain_seconds=DRAIN))
    assert show.is_closed_within(draining, 5.0)
    assert isinstance(asked.exception(), ModelLoadError)


def test_the_worker_of_a_stream_dies_between_two_chunks(show: Show) -> None:
    """The stream is over with it, and nothing else holds the crew."""
    opening = show.loop.create_task(show.crew.stream(Job(b"{}")))
    show.loop.turn(2)
    process = show.stage.alive[0]
    assert process.take()
    process.answer([Chunk(b"0")], 0.0)
    stream = show.loop.run(asyncio.wait_for(opening, 1.0))
    assert show.crew.busy
    assert show.idles == 0
    draining = show.loop.create_task(show.crew.close(drain_seconds=DRAIN))
    show.lose_the_worker()
    assert show.is_closed_within(draining, 2.0)
    assert show.idles == 1
    show.loop.do(stream.close)
