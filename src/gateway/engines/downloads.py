"""A limit on how many cold loads wait for downloads at once."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.errors import UpstreamTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.settings import CurrentSettings


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
        limit = max(1, self._settings.value.max_loaded_models // 2)
        if limit != self._limit:
            self._limit, self._semaphore = limit, asyncio.Semaphore(limit)
        return self._limit, self._semaphore
