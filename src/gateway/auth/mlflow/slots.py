"""Bounds how many calls go to MLflow at once, and how many callers wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from gateway.auth.errors import LimitExceeded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_BUSY: Final = "Too many callers wait for MLflow to check their credentials or rights."


class Slots:
    """Slots for calls; callers wait for one in the order of their coming.

    `limit` calls run at once. At most `waiting` wait, at most `waiting_of_one` of them with one key.
    """

    def __init__(self, limit: int, *, waiting: int, waiting_of_one: int) -> None:
        self._free = asyncio.Semaphore(limit)
        self._max_waiting = waiting
        self._max_of_one = waiting_of_one
        self._waiting: Counter[str] = Counter()

    @asynccontextmanager
    async def take(self, key: str = "") -> AsyncIterator[None]:
        """Hold a slot during the block; raise LimitExceeded if too many wait already."""
        if self._waiting.total() >= self._max_waiting or self._waiting[key] >= self._max_of_one:
            raise LimitExceeded(_BUSY, wait_seconds=1, source="mlflow", limit="waiting")
        self._waiting[key] += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
        try:
            yield
        finally:
            self._free.release()
