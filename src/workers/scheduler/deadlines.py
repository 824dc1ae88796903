"""One timer for all who wait equally long, in place of one for each."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_STEPS = 40
_LONGEST_STEP = 0.25


class Deadlines:
    """Calls `expired` for each future that is not done so many `seconds` after it began to be watched.

    Futures that begin within one step (a fortieth of the time, at most a quarter of a second) share
    one timer, so that one may be told as much too late, never too early. To watch costs a set's entry.
    """

    def __init__(self, seconds: float, *, expired: Callable[[asyncio.Future[object]], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self.step = min(_LONGEST_STEP, seconds / _STEPS)
        self._expired = expired
        self._open: set[asyncio.Future[object]] = set()
        self._closes = 0.0
        self._timers: deque[asyncio.TimerHandle] = deque()

    def watch(self, future: asyncio.Future[object]) -> set[asyncio.Future[object]]:
        """Begin to watch; the future is to be discarded from the set that is returned once it is done."""
        now = self._loop.time()
        if now >= self._closes:
            self._open = set()
            self._closes = now + self.step
            self._timers.append(self._loop.call_at(self._closes + self._seconds, self._end, self._open))
        self._open.add(future)
        return self._open

    def close(self) -> None:
        """Watch nothing any more."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _end(self, futures: set[asyncio.Future[object]]) -> None:
        self._timers.popleft()
        for future in list(futures):
            if not future.done():
                self._expired(future)
