"""An event loop whose clock never waits: where nothing is ready, the time of the next timer has come.

Everything else is asyncio's own: sockets, transports, tasks. What happens depends on nothing but what
is done to it, so that a failure found by chance can be found again and made smaller.
"""

from __future__ import annotations

import asyncio
import selectors
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")
_THREAD_SECONDS = 5.0  # for a thread to wake the loop, which is the one thing that takes real time


class Stuck(Exception):
    """Something is waited for, and nothing can happen any more."""


class _Selector(selectors.DefaultSelector):
    """Moves the clock in place of waiting."""

    now = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            if ready := super().select(_THREAD_SECONDS):
                return ready
            raise Stuck
        self.now += max(timeout, 0.0)
        return []


class Clockwork(asyncio.SelectorEventLoop):
    """The loop, with what a test asks of it; `raised` is what nobody was there to be told of."""

    def __init__(self) -> None:
        self._clock = _Selector()
        self.raised: list[Any] = []
        super().__init__(self._clock)
        self.set_exception_handler(lambda _, context: self.raised.append(context))

    def time(self) -> float:
        return self._clock.now

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end of `work`."""
        return self.run_until_complete(work)

    def turn(self, times: int) -> None:
        """Let what is ready now have its turn, so many times; the clock stands still."""
        for _ in range(times):
            self.run_until_complete(asyncio.sleep(0))

    def wait(self, seconds: float) -> None:
        """Let this time pass."""
        self.run_until_complete(asyncio.sleep(seconds))

    def do(self, act: Callable[[], object]) -> None:
        """Act as a callback does, whose loop runs."""

        async def acted() -> None:
            act()

        self.run(acted())

    def clear(self) -> None:
        """End whatever is left, where a test has failed."""
        for task in asyncio.all_tasks(self):
            task.cancel()
        with suppress(Stuck):
            self.turn(5)
            self.run(self.shutdown_default_executor())

    def timers(self) -> list[asyncio.TimerHandle]:
        """What is still to happen."""
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined] # nothing public tells it
        return [timer for timer in scheduled if not timer.cancelled()]
