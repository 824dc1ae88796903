"""Finds a fork server for a model's environment, and ends or empties another one for it."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING

from workers.errors import CapacityExceeded, PoolClosed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workers.limits import PoolLimits
    from workers.pool.environment_servers import EnvironmentLease, EnvironmentServers
    from workers.pool.fairness import FairShare
    from workers.pool.memory_budget import MemoryBudget
    from workers.pool.slots import ModelSlots
    from workers.protocol.messages import ModelKey
    from workers.worker_environment import WorkerEnvironment


class EnvironmentAllocator:
    """An allocator of fork servers of environments, of which only some run at a time.

    If all are in use, it evicts the models of the environment whose last request is the oldest, among those
    whose models may all be evicted for the owner of the one that is loaded.
    """

    def __init__(
        self,
        limits: Callable[[], PoolLimits],
        slots: ModelSlots,
        servers: EnvironmentServers,
        *,
        budget: MemoryBudget,
        fair_share: FairShare,
    ) -> None:
        self._limits = limits
        self._slots = slots
        self._servers = servers
        self._budget = budget
        self._fair_share = fair_share

    async def lease(self, key: ModelKey, environment: WorkerEnvironment) -> EnvironmentLease:
        """Wait for the use of an environment's server by a version that has a slot, and return it.

        Raise CapacityExceeded if no server can be freed, or memory for one, within the time of a request.
        Raise PoolClosed if the pool closes.
        """
        try:
            async with asyncio.timeout(self._limits().request_seconds):
                while not self._slots.closed and not self._servers.has(environment):
                    self._slots.changed.clear()
                    if self._servers.count >= self._limits().environments_running:
                        await self._free_server(key)
                    elif not await self._budget.fits_environment():
                        await self._free_memory(key)
                    else:
                        break
        except TimeoutError as error:
            raise self._capacity_error() from error
        if self._slots.closed:
            raise PoolClosed("The gateway is shutting down.")
        return self._servers.lease(environment)

    async def _free_server(self, key: ModelKey) -> None:
        """End a server, or wait until one may be ended."""
        if (ending := self._servers.end_least_recently_used()) is not None:
            await asyncio.wait([ending])
        elif victims := self._choose_models(key):
            await asyncio.wait([self._slots.evict(victim, "capacity") for victim in victims])
        else:
            await self._wait()

    async def _free_memory(self, key: ModelKey) -> None:
        if (ending := self._servers.end_least_recently_used()) is not None:
            await asyncio.wait([ending])
            return
        groups = self._fair_share.victims(key, self._slots.owner(key), shortage="memory")
        victim = self._slots.least_recently_used(next(filter(None, groups), ()))
        if victim is not None:
            await asyncio.wait([self._slots.evict(victim, "memory")])
        else:
            await self._wait()

    async def _wait(self) -> None:
        """Wait for a change, if one can help: a model is loading or unloading, or one is not pinned."""
        slots = self._slots
        others_load = len(slots.loading) > 1
        unpinned = not slots.pinned.issuperset(slots.loaded)
        if not (others_load or slots.unloading or self._servers.ending or unpinned):
            raise self._capacity_error()
        await slots.changed.wait()

    def _choose_models(self, key: ModelKey) -> Sequence[ModelKey]:
        """Return all models of the environment that was used least recently, of those that may be emptied."""
        groups = self._fair_share.victims(key, self._slots.owner(key), shortage="capacity")
        evictable = set(chain.from_iterable(groups))
        users = self._servers.users()
        loaded: dict[WorkerEnvironment, list[ModelKey]] = {}
        for each, entry in self._slots.loaded.items():
            if entry.group.source.environment is not None:
                loaded.setdefault(entry.group.source.environment, []).append(each)
        choices = [
            models
            for environment, models in loaded.items()
            if evictable.issuperset(models) and len(models) == users.get(environment)
        ]
        return min(choices, key=self._last_used, default=())

    def _last_used(self, models: Sequence[ModelKey]) -> float:
        return max(self._slots.loaded[key].group.dispatcher.last_used for key in models)

    def _capacity_error(self) -> CapacityExceeded:
        limit = self._limits().environments_running
        if self._servers.count >= limit:
            return CapacityExceeded(
                f"All {limit} Python environments that may run at once have models that are busy or pinned."
            )
        return CapacityExceeded(
            "The memory for a Python environment is in use by models that are busy or pinned."
        )
