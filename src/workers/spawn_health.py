"""Records whether worker processes can be started on this system."""

from __future__ import annotations

import asyncio
import time


class SpawnHealth:
    """A record of process starts. What a model does in a started process does not count.

    `failing` is set from the first failed start until a start succeeds. `failures` counts the failed
    starts in a row.
    """

    def __init__(self) -> None:
        self.failing = asyncio.Event()
        self.failures = 0
        self._failing_since = 0.0

    @property
    def failing_seconds(self) -> float:
        """Seconds since the first failed start; 0 if the last start succeeded."""
        return time.monotonic() - self._failing_since if self.failures else 0.0

    def record(self, *, succeeded: bool) -> None:
        """Record the outcome of one start. Call this from the event loop's thread."""
        if succeeded:
            self.failing.clear()
            self.failures = 0
            return
        if not self.failures:
            self._failing_since = time.monotonic()
        self.failures += 1
        self.failing.set()
