"""Proves how a supervisor notices that an event loop does not run."""

from __future__ import annotations

import asyncio

from gateway.server.heartbeat import Heartbeat, HeartbeatMonitor


async def test_missed_beats_are_counted_in_checks() -> None:
    """Each check without a new beat counts one, however much time lies between; a beat resets the count."""
    heartbeat = Heartbeat()
    monitor = HeartbeatMonitor(heartbeat)
    assert [monitor.check() for _ in range(3)] == [1, 2, 3]
    with heartbeat.beating(interval=3600):
        assert [monitor.check() for _ in range(3)] == [0, 1, 2]


async def test_it_beats_while_the_loop_runs() -> None:
    """The counter grows and `on_beat` is called, until the context ends."""
    heartbeat = Heartbeat()
    beaten = asyncio.Event()

    def on_beat() -> None:
        if heartbeat.count >= 3:
            beaten.set()

    async with asyncio.timeout(30):
        with heartbeat.beating(on_beat=on_beat, interval=0.01):
            await beaten.wait()
    count = heartbeat.count
    await asyncio.sleep(0.05)
    assert heartbeat.count == count
