"""Turns of those who do the same heavy thing: a few at once, and nobody holds others up for long."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Turns:
    """Lets `most` begin at once; the next begins when one is done, or after `seconds` in any case.

    A storm of loads on a few cores would end none of them sooner, take all places for models at once, and
    delay the workers that take the place of dead ones, which wait for no turn.
    """

    def __init__(self, most: int, *, seconds: float) -> None:
        self._free = asyncio.Semaphore(most)
        self._seconds = seconds

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait for a turn; it is over when the context is left, or its time is."""
        await self._free.acquire()
        turn = _Turn(self._free)
        over = asyncio.get_running_loop().call_later(self._seconds, turn.end)
        try:
            yield
        finally:
            over.cancel()
            turn.end()


class _Turn:
    def __init__(self, free: asyncio.Semaphore) -> None:
        self._free: asyncio.Semaphore | None = free

    def end(self) -> None:
        """Let the next begin, once."""
        if self._free is not None:
            self._free.release()
            self._free = None
