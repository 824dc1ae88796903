"""Background tasks of one owner, which awaits them when it closes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


class BackgroundTasks:
    """A set of tasks that reports an exception in one of them to the event loop's handler at once.

    A task group does not serve: it would cancel the other tasks, and report when it is left.
    """

    def __init__(self, owner: object) -> None:
        """`owner` names the tasks' owner in the log."""
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in a task until it ends or is cancelled."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def cancel(self) -> None:
        """Cancel every task."""
        for task in self._tasks:
            task.cancel()

    async def wait(self) -> None:
        """Wait until every task has ended, with or without an exception."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler(
                {"message": f"A task of {self._owner} failed.", "exception": error, "task": task}
            )
