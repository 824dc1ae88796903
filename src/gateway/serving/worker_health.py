"""Tracks whether worker processes can be started; without them the gateway cannot load any model."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from workers.backoff import Backoff

if TYPE_CHECKING:
    from gateway.engines.engine import Engine
    from workers.spawn_health import SpawnHealth

logger = logging.getLogger(__name__)

_FAILURE_THRESHOLD: Final = 3  # failed starts in a row after which the gateway is unhealthy
_INITIAL_BACKOFF_SECONDS: Final = 0.5
_MAX_BACKOFF_SECONDS: Final = 5.0
_FATAL_AFTER_SECONDS: Final = 60.0


class WorkerHealth:
    """A monitor of worker starts, which sets `fatal` if none succeeds for `fatal_after` seconds.

    While starts fail it probes by itself, because an unhealthy gateway may get no requests. As long as a
    model is loaded the gateway stays healthy and serves it.
    """

    def __init__(self, engine: Engine, *, fatal_after: float = _FATAL_AFTER_SECONDS) -> None:
        self._engine = engine
        self._fatal_after = fatal_after
        self.fatal = asyncio.Event()

    @property
    def healthy(self) -> bool:
        """Whether workers can be started, or a model is loaded already."""
        return self.can_start or self._engine.has_warm_models

    @property
    def can_start(self) -> bool:
        """Whether workers can be started as far as known, and so further models loaded."""
        return self._engine.spawn_health.failures < _FAILURE_THRESHOLD

    async def run(self) -> None:
        """Watch worker starts until cancelled, or until the failure is fatal."""
        spawn_health = self._engine.spawn_health
        while not self.fatal.is_set():
            await spawn_health.failing.wait()
            await self._probe_until_recovered(spawn_health)

    async def _probe_until_recovered(self, spawn_health: SpawnHealth) -> None:
        backoff = Backoff(_INITIAL_BACKOFF_SECONDS, _MAX_BACKOFF_SECONDS)
        while spawn_health.failing.is_set():
            if not self.healthy and spawn_health.failing_seconds >= self._fatal_after:
                logger.critical(
                    "No worker process could be started for %d s (%d failures in a row): exiting",
                    spawn_health.failing_seconds,
                    spawn_health.failures,
                    extra=_fields("worker_starts_fatal", spawn_health),
                )
                self.fatal.set()
                return
            await asyncio.sleep(backoff.next_delay())
            await self._engine.probe_spawn()
            if spawn_health.failing.is_set():
                logger.error(
                    "No worker process can be started; failing for %d s",
                    spawn_health.failing_seconds,
                    extra=_fields("worker_starts_failing", spawn_health),
                )
        logger.info("Worker processes can be started again", extra={"event": "worker_starts_recovered"})


def _fields(event: str, spawn_health: SpawnHealth) -> dict[str, object]:
    return {"event": event, "seconds": spawn_health.failing_seconds, "failures": spawn_health.failures}
