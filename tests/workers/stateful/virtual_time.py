"""An event loop whose clock jumps to the next timer instead of waiting for it.

All else is asyncio's own: sockets, transports, tasks. What happens depends only on what a test does,
so that a failure that was found by chance can be reproduced and shrunk.
"""

from __future__ import annotations

import asyncio
import selectors
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

ResultT = TypeVar("ResultT")
_THREAD_SECONDS = 30.0  # real time for a thread to wake the loop


class Deadlock(Exception):
    """A task waits, and neither a timer nor a file can wake it."""


class _Selector(selectors.DefaultSelector):
    """A selector that advances the clock instead of waiting."""

    now = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            if ready := super().select(_THREAD_SECONDS):
                return ready
            raise Deadlock
        self.now += max(timeout, 0.0)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time; `errors` collects what its exception handler is called with."""

    def __init__(self) -> None:
        self._clock = _Selector()
        self.errors: list[Any] = []
        super().__init__(self._clock)
        self.set_exception_handler(lambda _, context: self.errors.append(context))

    def time(self) -> float:
        return self._clock.now

    def run(self, coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Return the result of a coroutine."""
        return self.run_until_complete(coroutine)

    def spin(self, iterations: int) -> None:
        """Run what is ready, for a number of iterations, while the clock stands still."""
        for _ in range(iterations):
            self.run_until_complete(asyncio.sleep(0))

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.run_until_complete(asyncio.sleep(seconds))

    def call(self, action: Callable[[], object]) -> None:
        """Call `action` while the loop runs."""

        async def act() -> None:
            action()

        self.run(act())

    def cancel_all(self) -> None:
        """Cancel the tasks that a failed test left, and end the loop's threads."""
        for task in asyncio.all_tasks(self):
            task.cancel()
        with suppress(Deadlock):
            self.spin(5)
            self.run(self.shutdown_default_executor())

    def timers(self) -> list[asyncio.TimerHandle]:
        """Return the timers that are still to fire."""
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined] # nothing public tells it
        return [timer for timer in scheduled if not timer.cancelled()]
