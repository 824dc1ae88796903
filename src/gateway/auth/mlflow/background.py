"""Asks MLflow again before an answer is too old, so that callers need not wait for it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from gateway.concurrency.singleflight import SingleFlightClosed
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Coroutine

logger = logging.getLogger(__name__)


class Refreshes:
    """Running tasks that ask again; what they raise is for the next caller to find out."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, call: Coroutine[Any, Any, object]) -> None:
        """Run `call` in a task."""
        task = asyncio.create_task(_run(call), name="refresh of rights in MLflow")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel all tasks and wait for their end."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


async def _run(call: Coroutine[Any, Any, object]) -> None:
    try:
        await call
    except (GatewayError, SingleFlightClosed) as error:
        logger.debug("Rights in MLflow were not refreshed: %s", error)
