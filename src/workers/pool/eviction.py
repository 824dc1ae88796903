"""Evicts models that are idle, too many or too large, for as long as the pool is open."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.limits import PoolLimits
    from workers.pool.environment_servers import EnvironmentServers
    from workers.pool.fairness import FairShare
    from workers.pool.memory_budget import MemoryBudget
    from workers.pool.slots import ModelSlots

logger = logging.getLogger(__name__)

_MIB: Final = 2**20
_SURPLUS_CHECK_SECONDS: Final = 1.0  # until surplus models that were busy are looked at again


class Evictor:
    """A pair of background loops that keep the loaded models within the pool's limits."""

    def __init__(
        self,
        limits: Callable[[], PoolLimits],
        slots: ModelSlots,
        *,
        budget: MemoryBudget,
        fair_share: FairShare,
        environments: EnvironmentServers,
        measure_interval_seconds: float,
    ) -> None:
        self._limits = limits
        self._slots = slots
        self._budget = budget
        self._fair_share = fair_share
        self._environments = environments
        self._measure_interval_seconds = measure_interval_seconds
        self._limits_changed = asyncio.Event()
        self._over_budget_logged = False

    def notify_limits_changed(self) -> None:
        """Apply changed limits now instead of at the next look."""
        self._limits_changed.set()

    async def evict_idle_forever(self) -> None:
        """Evict idle models, and surplus ones after the limit was lowered, until cancelled."""
        while True:
            self._limits_changed.clear()
            pause = _SURPLUS_CHECK_SECONDS if self._evict_surplus() else self._evict_idle()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._limits_changed.wait()

    async def enforce_memory_budget_forever(self) -> None:
        """Measure all processes at a fixed interval, and evict while they exceed the budget."""
        while True:
            await self._budget.measure()
            while self._budget.is_exceeded():
                if (ending := self._environments.end_least_recently_used()) is not None:
                    await asyncio.wait([ending])
                    await self._budget.refresh()
                    continue
                if (key := self._slots.least_recently_used(self._fair_share.surplus())) is None:
                    break
                await asyncio.wait([self._slots.evict(key, "memory_budget")])
            self._warn_if_over_budget()
            await asyncio.sleep(self._measure_interval_seconds)

    def _evict_surplus(self) -> bool:
        """Evict models beyond the limit; return whether some remain because they are busy or pinned."""
        while surplus := self._slots.count > self._limits().max_loaded_models:
            if (key := self._slots.least_recently_used()) is None:
                break
            self._slots.evict(key, "limit_lowered")
        return surplus

    def _evict_idle(self) -> float | None:
        """Evict idle models; return the seconds until the next may be idle, or None for never."""
        idle_seconds = self._limits().idle_seconds
        if not idle_seconds:
            return None
        now = asyncio.get_running_loop().time()
        while (key := self._slots.least_recently_used()) is not None:
            remaining = self._slots.loaded[key].group.dispatcher.last_used + idle_seconds - now
            if remaining > 0:
                return remaining
            self._slots.evict(key, "idle")
        return idle_seconds

    def _warn_if_over_budget(self) -> None:
        """Log that the budget is exceeded, once until it is kept again."""
        exceeded, limit = self._budget.is_exceeded(), self._budget.limit
        if exceeded and not self._over_budget_logged and limit is not None:
            used = self._budget.used_bytes
            logger.warning(
                "Memory budget exceeded: %d of %d MiB in use, and every model is busy or pinned",
                used // _MIB,
                limit // _MIB,
                extra={"event": "memory_budget_exceeded", "used_bytes": used, "budget_bytes": limit},
            )
        self._over_budget_logged = exceeded
