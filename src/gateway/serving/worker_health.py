"""Whether the gateway can serve at all: a process without which no model can be loaded is no gateway."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from workers.pool.pool import Pool
    from workers.spawn_health import SpawnHealth

logger = logging.getLogger(__name__)

_FAILURE_THRESHOLD: Final = 3  # failures in a row, before the gateway calls itself unable
_INITIAL_BACKOFF_SECONDS: Final = 0.5
_MAX_BACKOFF_SECONDS: Final = 5.0
_FATAL_AFTER_SECONDS: Final = 60.0


class WorkerHealth:
    """Watches whether processes for workers can be started.

    Where every start fails it tries by itself, since a gateway that is not ready may get no requests. As long
    as a model is warm the gateway serves that, and goes on.
    """

    def __init__(self, pool: Pool, *, fatal_after: float = _FATAL_AFTER_SECONDS) -> None:
        """`hopeless` is set where no process could be started for `patience` seconds."""
        self._pool = pool
        self._fatal_after = fatal_after
        self.fatal = asyncio.Event()

    @property
    def healthy(self) -> bool:
        """Whether models can be loaded, as far as is known, or some are and serve on."""
        return self._pool.spawn_health.failures < _FAILURE_THRESHOLD or self._pool.has_warm_models

    async def run(self) -> None:
        """Watch, until the gateway must give up."""
        starts = self._pool.spawn_health
        while True:
            await starts.failing.wait()
            pause = _INITIAL_BACKOFF_SECONDS
            while starts.failing.is_set():
                if self._is_fatal(starts):
                    logger.critical(
                        "no worker process could be started for %d s, %d times in a row: the gateway ends",
                        starts.failing_seconds,
                        starts.failures,
                    )
                    self.fatal.set()
                    return
                await asyncio.sleep(pause)
                pause = min(2 * pause, _MAX_BACKOFF_SECONDS)
                await self._pool.probe_spawn()
                if starts.failing.is_set():
                    logger.error("no worker process can be started, for %d s now", starts.failing_seconds)
            logger.info("worker processes can be started again")

    def _is_fatal(self, starts: SpawnHealth) -> bool:
        return not self.healthy and starts.failing_seconds >= self._fatal_after
