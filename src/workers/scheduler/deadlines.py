"""A timer wheel: futures that wait equally long share timers."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_STEPS_PER_TIMEOUT = 40
_MAX_STEP_SECONDS = 0.25


class Deadlines:
    """A timer wheel that calls `on_expired` for each future that is not done after `seconds`.

    Futures that are added within one step share a timer. A step is a fortieth of `seconds`, at most a
    quarter of a second. A future expires up to one step late, never early. Adding one costs a set entry.
    """

    def __init__(self, seconds: float, *, on_expired: Callable[[asyncio.Future[object]], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self.step_seconds = min(_MAX_STEP_SECONDS, seconds / _STEPS_PER_TIMEOUT)
        self._on_expired = on_expired
        self._current_bucket: set[asyncio.Future[object]] = set()
        self._bucket_ends = 0.0
        self._timers: deque[asyncio.TimerHandle] = deque()

    def watch(self, future: asyncio.Future[object]) -> set[asyncio.Future[object]]:
        """Add a future; the caller discards it from the returned set when it is done."""
        bucket = self.open_bucket()
        bucket.add(future)
        return bucket

    def open_bucket(self) -> set[asyncio.Future[object]]:
        """Return the set for the futures of now; the caller adds them, and discards each when it is done."""
        now = self._loop.time()
        if now >= self._bucket_ends:
            self._current_bucket = set()
            self._bucket_ends = now + self.step_seconds
            expires_at = self._bucket_ends + self._seconds
            self._timers.append(self._loop.call_at(expires_at, self._expire_bucket, self._current_bucket))
        return self._current_bucket

    def close(self) -> None:
        """Cancel every timer; no future expires any more."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _expire_bucket(self, futures: set[asyncio.Future[object]]) -> None:
        self._timers.popleft()
        for future in list(futures):
            if not future.done():
                self._on_expired(future)
