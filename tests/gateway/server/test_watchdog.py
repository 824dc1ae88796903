"""Proves when a process counts as hung."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

from gateway.server.watchdog import Heartbeat, HeartbeatMonitor, Watchdog

if TYPE_CHECKING:
    import pytest

TICK = 0.05
MOST = 10


async def test_a_loop_that_turns_is_let_be() -> None:
    """Also one that stands still for a part of the time that it may."""
    ended = threading.Event()
    pulse = Heartbeat()
    watchdog = Watchdog(pulse, most=MOST, tick=TICK, end=lambda _: ended.set())
    with pulse.beating(every=TICK / 5):
        watchdog.start()
        for _ in range(4):
            time.sleep(TICK * MOST / 4)  # noqa: ASYNC251 - it stands still on purpose
            await asyncio.sleep(TICK * 3)
        watchdog.stop()
    assert not ended.is_set()


async def test_a_loop_that_stands_still_is_ended() -> None:
    """With status 1, by the thread that watches."""
    told: list[int] = []
    ended = threading.Event()

    def end(status: int) -> None:
        told.append(status)
        ended.set()

    pulse = Heartbeat()
    watchdog = Watchdog(pulse, most=MOST, tick=TICK, end=end)
    with pulse.beating(every=TICK / 5):
        watchdog.start()
        assert ended.wait(60)
    watchdog.stop()
    assert told == [1]


async def test_silence_is_counted_in_looks() -> None:
    """However long it lasts: nobody who did not look can say that nothing moved."""
    pulse = Heartbeat()
    silence = HeartbeatMonitor(pulse)
    assert [silence.check() for _ in range(3)] == [1, 2, 3]
    with pulse.beating():
        assert [silence.check() for _ in range(3)] == [0, 1, 2]


async def test_an_end_that_takes_long(caplog: pytest.LogCaptureFixture) -> None:
    """It is told as that, and the process ends as it would have."""
    told: list[int] = []
    ended = threading.Event()

    def end(status: int) -> None:
        told.append(status)
        ended.set()

    watchdog = Watchdog(Heartbeat(), most=10_000, tick=TICK, end=end)
    watchdog.start()
    watchdog.hurry(most=4, status=0)
    assert await asyncio.to_thread(ended.wait, 60)
    watchdog.stop()
    assert told == [0]
    assert "the process did not end within 0.2 s" in caplog.text
    assert "event loop" not in caplog.text
