"""Whether worker processes can be started on this system, as the starts so far tell."""

from __future__ import annotations

import asyncio
import time


class Starts:
    """Whether processes can be started at all; says nothing of what a model does in one."""

    def __init__(self) -> None:
        self.failing = asyncio.Event()
        self.failed = 0
        self._since = 0.0

    @property
    def seconds(self) -> float:
        """For how long every start has failed; 0 where the last one did not."""
        return time.monotonic() - self._since if self.failed else 0.0

    def note(self, *, began: bool) -> None:
        """Take note of one start; from the event loop."""
        if began:
            self.failing.clear()
            self.failed = 0
            return
        if not self.failed:
            self._since = time.monotonic()
        self.failed += 1
        self.failing.set()
