"""The loops that a pool runs beside its requests: each starts again after an error."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from workers.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_INITIAL_RESTART_SECONDS: Final = 0.5
_MAX_RESTART_SECONDS: Final = 30.0
_RESTART_RESET_SECONDS: Final = 60.0  # a loop that ran this long starts again at the initial delay


class BackgroundLoops:
    """A set of loops that run until `close`. Used from one event loop."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, work: Callable[[], Coroutine[Any, Any, None]], *, name: str) -> None:
        """Run a loop in a task with this name."""
        self._tasks.append(asyncio.create_task(_run_forever(work), name=name))

    async def close(self) -> None:
        """Cancel all loops, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _run_forever(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a loop until cancelled; if it raises, report the error and start it again after a pause."""
    loop, backoff = asyncio.get_running_loop(), Backoff(_INITIAL_RESTART_SECONDS, _MAX_RESTART_SECONDS)
    while True:
        started = loop.time()
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - the limits must be kept after any error
            if loop.time() - started > _RESTART_RESET_SECONDS:
                backoff.reset()
            delay = backoff.next_delay()
            message = f"Eviction failed; trying again in {delay:g} s"
            loop.call_exception_handler({"message": message, "exception": error})
            await asyncio.sleep(delay)
