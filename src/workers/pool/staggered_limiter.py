"""Limits how many pieces of heavy work start together."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class StaggeredLimiter:
    """A semaphore whose slots are released when the work ends, or after some seconds in any case.

    Loading many models at once on a few cores would finish none of them sooner, would take all model
    slots at once, and would delay the replacements of crashed workers, which do not wait here. The time
    limit keeps one long load from delaying the others.
    """

    def __init__(self, limit: int, *, seconds: float) -> None:
        """At most `limit` pieces of work start together; a slot is held for at most `seconds`."""
        self._semaphore = asyncio.Semaphore(limit)
        self._seconds = seconds

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot, and release it when the context ends or its time is over."""
        await self._semaphore.acquire()
        with ExitStack() as slot:
            slot.callback(self._semaphore.release)
            timer = asyncio.get_running_loop().call_later(self._seconds, slot.close)
            slot.callback(timer.cancel)
            yield
