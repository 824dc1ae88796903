"""Whether worker processes can be started on this system, as the starts so far tell."""

from __future__ import annotations

import asyncio
import time


class SpawnHealth:
    """Whether processes can be started at all; says nothing of what a model does in one."""

    def __init__(self) -> None:
        self.failing = asyncio.Event()
        self.failures = 0
        self._failing_since = 0.0

    @property
    def failing_seconds(self) -> float:
        """For how long every start has failed; 0 where the last one did not."""
        return time.monotonic() - self._failing_since if self.failures else 0.0

    def record(self, *, succeeded: bool) -> None:
        """Take note of one start; from the event loop."""
        if succeeded:
            self.failing.clear()
            self.failures = 0
            return
        if not self.failures:
            self._failing_since = time.monotonic()
        self.failures += 1
        self.failing.set()
