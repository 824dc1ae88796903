"""Versions that hold a place while their files come from the store: a slow one must not get all places."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.errors import UpstreamSlow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Arrivals:
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
    async def one(self) -> AsyncIterator[None]:
        """Wait for a turn, which ends with the block. Raises UpstreamSlow where none comes in time."""
        free = self._free
        try:
            async with asyncio.timeout(self._seconds):
                await free.acquire()
        except TimeoutError as error:
            told = f"The files of {self._most} other versions are being fetched, which takes too long."
            raise UpstreamSlow(told) from error
        try:
            yield
        finally:
            free.release()
