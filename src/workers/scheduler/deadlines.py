"""One timer for all who wait equally long, in place of one for each."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_STEPS_PER_TIMEOUT = 40
_MAX_STEP_SECONDS = 0.25


class Deadlines:
    """Calls `expired` for each future that is not done so many `seconds` after it began to be watched.

    Futures that begin within one step (a fortieth of the time, at most a quarter of a second) share
    one timer, so that one may be told as much too late, never too early. To watch costs a set's entry.
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
        """Begin to watch; the future is to be discarded from the set that is returned once it is done."""
        now = self._loop.time()
        if now >= self._bucket_ends:
            self._current_bucket = set()
            self._bucket_ends = now + self.step_seconds
            self._timers.append(
                self._loop.call_at(
                    self._bucket_ends + self._seconds, self._expire_bucket, self._current_bucket
                )
            )
        self._current_bucket.add(future)
        return self._current_bucket

    def close(self) -> None:
        """Watch nothing any more."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _expire_bucket(self, futures: set[asyncio.Future[object]]) -> None:
        self._timers.popleft()
        for future in list(futures):
            if not future.done():
                self._on_expired(future)
