"""A clock that stands still until a test advances it."""

from __future__ import annotations

import asyncio


class ManualClock:
    """A replacement for `time.monotonic`, in seconds."""

    def __init__(self) -> None:
        self._now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let `seconds` seconds pass at once."""
        self._now += seconds


async def run_ready_tasks() -> None:
    """Let all tasks run until each of them waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)
