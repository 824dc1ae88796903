"""Run one call per key at a time, and share its result among concurrent callers."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

K = TypeVar("K", bound="Hashable")
T = TypeVar("T")

logger = logging.getLogger(__name__)


class SingleFlightClosed(RuntimeError):
    """The call was cancelled, or not started, because the gateway is shutting down."""


class SingleFlight(Generic[K]):
    """A group of calls that runs one call per key at a time; concurrent callers of a key share its outcome.

    Results are not cached: the next caller after the end of a call starts a new one.
    """

    def __init__(self) -> None:
        self._running: dict[K, asyncio.Task[Any]] = {}
        self._closed = False

    def is_running(self, key: K) -> bool:
        """Return whether a call for `key` runs, so that the next caller shares its outcome."""
        task = self._running.get(key)
        return task is not None and not task.done()

    async def do(self, key: K, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of the running call for `key`, after starting `call` if none runs.

        Cancelling a caller does not cancel the call. Raise what the call raises, or SingleFlightClosed if
        `close` cancelled it.
        """
        if self._closed:
            raise SingleFlightClosed("The gateway is shutting down.")
        task = self._running.get(key)
        if task is None or task.done():
            task = self._start(key, call())
        try:
            result: T = await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled() and not _caller_cancelled():
                raise SingleFlightClosed("The gateway is shutting down.") from None
            raise
        return result

    async def close(self) -> None:
        """Cancel all calls and wait until they have ended; callers get SingleFlightClosed from now on."""
        self._closed = True
        running = list(self._running.values())
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def _start(self, key: K, call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(call, name=f"single flight {key}")
        self._running[key] = task
        task.add_done_callback(lambda done: self._on_done(key, done))
        return task

    def _on_done(self, key: K, task: asyncio.Task[Any]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        # If every caller was cancelled, asyncio would report an exception that was never retrieved.
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.debug("%s failed", task.get_name(), exc_info=error)


def _caller_cancelled() -> bool:
    caller = asyncio.current_task()
    return caller is not None and caller.cancelling() > 0
