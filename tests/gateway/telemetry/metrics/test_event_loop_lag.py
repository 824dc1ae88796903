"""Proves that a delay of the event loop is measured, and dropped after a while."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from gateway.telemetry.metrics.event_loop_lag import EventLoopLag
from tests.support.waiting import until


async def test_a_blocked_loop() -> None:
    """The lag is at least the time that the loop was blocked, less one sampling interval."""
    lag = EventLoopLag()
    task = asyncio.create_task(lag.run())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(time.sleep, 0.6)
    await until(lambda: lag.max_seconds >= 0.45)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def test_a_delay_is_dropped() -> None:
    """After 30 seconds at the earliest, after 60 at the latest; a reader changes nothing."""
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
