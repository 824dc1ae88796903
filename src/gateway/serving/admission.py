"""Limits on cold loads: how many wait for downloads at once, and how many requests wait for one load."""

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

    from gateway.settings import CurrentSettings
    from workers.metrics import Counters
    from workers.protocol.messages import ModelKey


class DownloadLimiter:
    """A semaphore that lets half of the model slots, and at least one, wait for downloads.

    The other slots stay free for models whose files are in the cache. A changed limit holds for later
    calls; the downloads that run at that moment are not counted against it.
    """

    def __init__(self, settings: CurrentSettings) -> None:
        self._settings = settings
        self._limit = 0
        self._semaphore = asyncio.Semaphore(0)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot, hold it until the context ends. Raise UpstreamTimeout if none is free in time."""
        limit, semaphore = self._current()
        try:
            async with asyncio.timeout(self._settings.value.request_timeout_seconds):
                await semaphore.acquire()
        except TimeoutError as error:
            raise UpstreamTimeout(
                f"The files of {limit} other versions are being downloaded, and none finished in time."
            ) from error
        try:
            yield
        finally:
            semaphore.release()

    def _current(self) -> tuple[int, asyncio.Semaphore]:
        limit = max(1, self._settings.value.loaded_models_per_process // 2)
        if limit != self._limit:
            self._limit, self._semaphore = limit, asyncio.Semaphore(limit)
        return self._limit, self._semaphore


class LoadWaitLimit:
    """A limit on the requests that wait for one version to be loaded: `max_queue` of the settings."""

    def __init__(self, settings: CurrentSettings, *, counters: Counters) -> None:
        self._settings = settings
        self._counters = counters
        self._waiting: Counter[ModelKey] = Counter()

    @contextmanager
    def slot(self, key: ModelKey) -> Iterator[None]:
        """Count one more waiting request until the context ends. Raise QueueFull if too many wait."""
        if self._waiting[key] >= self._settings.value.max_queue:
            self._counters.increment(QUEUE_REJECTIONS, key.name, key.version)
            raise QueueFull(f"{self._waiting[key]} requests wait for this version to be loaded.")
        self._waiting[key] += 1
        try:
            yield
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
