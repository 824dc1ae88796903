"""Proves that a gateway that shuts down waits for the requests in flight."""

from __future__ import annotations

import asyncio

from gateway.api.drain import Drain


async def test_waits_for_the_last() -> None:
    """Not before the last has left, and without a start not at all."""
    drain = Drain()
    drain.enter()
    drain.enter()
    waiting = asyncio.create_task(drain.wait())
    drain.leave()
    drain.start()
    await asyncio.sleep(0)
    assert drain.started
    assert not waiting.done()
    drain.leave()
    await asyncio.wait_for(waiting, 1)
    assert drain.in_flight == 0


async def test_nothing_to_wait_for() -> None:
    """An idle gateway ends at once."""
    drain = Drain()
    drain.start()
    await asyncio.wait_for(drain.wait(), 1)
