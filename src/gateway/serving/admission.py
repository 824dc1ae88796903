"""Versions that hold a place while their files come from the store: a slow one must not get all places."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from gateway.errors import UpstreamTimeout
from workers.errors import QueueFull
from workers.metrics import QUEUE_REJECTIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from workers.metrics import Counters
    from workers.protocol.messages import ModelKey


class DownloadLimiter:
    """Lets half of the places for models wait for downloads, and one at least; the others serve on."""

    def __init__(self, places: int, *, seconds: float) -> None:
        """`seconds` is how long one may wait for its turn."""
        self.change(places, seconds=seconds)

    def change(self, places: int, *, seconds: float) -> None:
        """Go by other limits for those who come from now on."""
        self._most = max(1, places // 2)
        self._seconds = seconds
        self._free = asyncio.Semaphore(self._most)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a turn, which ends with the block. Raises UpstreamSlow where none comes in time."""
        free = self._free
        try:
            async with asyncio.timeout(self._seconds):
                await free.acquire()
        except TimeoutError as error:
            told = f"The files of {self._most} other versions are being fetched, which takes too long."
            raise UpstreamTimeout(told) from error
        try:
            yield
        finally:
            free.release()


class LoadWaitLimit:
    """Counts those who wait, per version."""

    def __init__(self, limit: int, *, counters: Counters) -> None:
        """`most` for one version; `tally` is where those who are turned away are counted."""
        self.limit = limit
        self._counters = counters
        self._counts: Counter[ModelKey] = Counter()

    @contextmanager
    def slot(self, key: ModelKey) -> Iterator[None]:
        """One more waits, until the block ends. Raises QueueFull."""
        if self._counts[key] >= self.limit:
            self._counters.increment(QUEUE_REJECTIONS, key.name, key.version)
            raise QueueFull(f"{self._counts[key]} requests wait for this version to be loaded.")
        self._counts[key] += 1
        try:
            yield
        finally:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]
