"""How late the event loop is: what a request waits although nothing is wrong with its model."""

from __future__ import annotations

import asyncio
from typing import Final

_EVERY_SECONDS: Final = 0.1
_WINDOW_SECONDS: Final = 30.0


class Lag:
    """The longest delay of the last 30 to 60 seconds, whoever reads it and however often."""

    def __init__(self) -> None:
        self._before = 0.0
        self._now = 0.0
        self._since = 0.0

    @property
    def worst(self) -> float:
        """Seconds."""
        return max(self._before, self._now)

    async def run(self) -> None:
        """Measure, until cancelled."""
        loop = asyncio.get_running_loop()
        self._since = loop.time()
        while True:
            due = loop.time() + _EVERY_SECONDS
            await asyncio.sleep(_EVERY_SECONDS)
            self.note(loop.time() - due, at=due)

    def note(self, seconds: float, *, at: float) -> None:
        """Something was due `at` this time of the loop, and came so much later."""
        if at - self._since >= _WINDOW_SECONDS:
            self._before, self._now, self._since = self._now, 0.0, at
        self._now = max(self._now, seconds)
