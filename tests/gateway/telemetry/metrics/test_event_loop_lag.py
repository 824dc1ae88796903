"""Proves that a loop that was held up is seen, and forgotten after a while."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from gateway.telemetry.metrics.event_loop_lag import EventLoopLag


async def test_a_loop_that_is_held_up() -> None:
    """By as long as it was, less what was left until the next measuring."""
    lag = EventLoopLag()
    task = asyncio.create_task(lag.run())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(time.sleep, 0.6)
    async with asyncio.timeout(30):
        while True:
            await asyncio.sleep(0.01)
            if lag.max_seconds >= 0.45:
                break
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def test_it_is_forgotten() -> None:
    """After 30 seconds at the soonest, after 60 at the latest; a reader changes nothing."""
    lag = EventLoopLag()
    lag.record(2.0, at=1.0)
    for second in range(2, 31):
        lag.record(0.0, at=float(second))
        assert lag.max_seconds == 2.0
    lag.record(0.5, at=59.0)
    assert lag.max_seconds == 2.0
    lag.record(0.0, at=61.0)
    assert lag.max_seconds == 0.5
    lag.record(0.0, at=92.0)
    assert lag.max_seconds == 0.0
