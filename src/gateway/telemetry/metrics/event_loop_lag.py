"""Measurement of the event loop's lag: the time that requests wait for the gateway itself."""

from __future__ import annotations

import asyncio
from typing import Final

_SAMPLE_SECONDS: Final = 0.1
_WINDOW_SECONDS: Final = 30.0


class EventLoopLag:
    """A meter of the event loop's longest delay in the last 30 to 60 seconds; reading it changes nothing."""

    def __init__(self) -> None:
        self._previous_max = 0.0
        self._current_max = 0.0
        self._window_start = 0.0

    @property
    def max_seconds(self) -> float:
        """The longest delay in seconds."""
        return max(self._previous_max, self._current_max)

    async def run(self) -> None:
        """Measure, until cancelled."""
        loop = asyncio.get_running_loop()
        self._window_start = loop.time()
        while True:
            due = loop.time() + _SAMPLE_SECONDS
            await asyncio.sleep(_SAMPLE_SECONDS)
            self.record(loop.time() - due, at=due)

    def record(self, seconds: float, *, at: float) -> None:
        """Record that a timer due at loop time `at` fired `seconds` late."""
        if at - self._window_start >= _WINDOW_SECONDS:
            self._previous_max, self._current_max, self._window_start = self._current_max, 0.0, at
        self._current_max = max(self._current_max, seconds)
