"""One running call per key, shared by all who ask."""

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
    """The call was given up, or not begun, since the gateway is shutting down."""


class SingleFlight(Generic[K]):
    """Runs one call per key at a time and gives its outcome to everybody who asked meanwhile.

    Nothing is remembered once the call has ended: the next asker starts it anew.
    """

    def __init__(self) -> None:
        self._running: dict[K, asyncio.Task[Any]] = {}
        self._closed = False

    async def do(self, key: K, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The outcome of the call that runs for `key`; `call` is begun where none runs.

        A cancelled asker does not cancel the call. What the call raises is raised to each asker;
        SingleFlightClosed where `close` ended it.
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
        """Cancel what runs and wait until it has ended; later askers get SingleFlightClosed."""
        self._closed = True
        running = list(self._running.values())
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def _start(self, key: K, call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(call, name=f"once {key}")
        self._running[key] = task
        task.add_done_callback(lambda done: self._on_done(key, done))
        return task

    def _on_done(self, key: K, task: asyncio.Task[Any]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        # Every asker may have gone: asyncio would then complain of an exception never retrieved.
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.debug("%s failed", task.get_name(), exc_info=error)


def _caller_cancelled() -> bool:
    asker = asyncio.current_task()
    return asker is not None and asker.cancelling() > 0
