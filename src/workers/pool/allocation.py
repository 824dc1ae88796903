"""Finds a slot and memory for a version that will be loaded, and evicts others for it."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING, Final

from workers.errors import CapacityExceeded, ModelLoadError, PoolClosed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from workers.limits import PoolLimits
    from workers.pool.environment_servers import EnvironmentServers
    from workers.pool.fairness import FairShare, Shortage
    from workers.pool.memory_budget import MemoryBudget
    from workers.pool.slots import ModelSlots
    from workers.protocol.messages import ModelKey
    from workers.scheduler.worker_group import WorkerGroup

_MIB: Final = 2**20
_TIMEOUT_REPLY_SECONDS: Final = 1.0  # for requests that time out during an unload to get that error


class SlotAllocator:
    """An allocator of slots and memory that evicts the least recently used versions if it must.

    Which ones it may evict depends on the owner of the one that is loaded.
    """

    def __init__(
        self,
        limits: Callable[[], PoolLimits],
        slots: ModelSlots,
        *,
        budget: MemoryBudget,
        fair_share: FairShare,
        environments: EnvironmentServers,
    ) -> None:
        self._limits = limits
        self._slots = slots
        self._budget = budget
        self._fair_share = fair_share
        self._environments = environments

    async def allocate(self, key: ModelKey, owners: Collection[str | None] = ()) -> None:
        """Wait for a slot and memory for one more version, and reserve both for one of `owners`.

        `owners` may grow while it waits, if `changed` of the slots is set then. Raise ModelLoadError if the
        model is known to need more memory than it can ever get. Raise CapacityExceeded if nothing is free
        within the time of a request, or if only pinned versions could be evicted. Raise PoolClosed if the
        pool closes.
        """
        shortage: Shortage | None = None
        owner = self._fair_share.owner(key, owners, shortage="capacity")
        try:
            async with asyncio.timeout(self._limits().request_seconds):
                while not self._slots.closed and (shortage := await self._shortage(key)):
                    self._slots.changed.clear()
                    if shortage == "memory":
                        self._reject_if_too_large(key)
                        if await self._end_idle_environment():
                            continue
                    owner = self._fair_share.owner(key, owners, shortage=shortage)
                    if (victim := self._choose_victim(key, owner, shortage=shortage)) is not None:
                        await asyncio.wait([self._slots.evict(victim, shortage)])
                    elif (unloading := self._unload_busy(key, owner, shortage=shortage)) is not None:
                        if shortage == "memory":  # a slot is free at once, memory only then
                            await asyncio.wait([unloading])
                    elif self._eviction_possible():
                        await self._slots.changed.wait()
                    else:
                        raise self._capacity_error(shortage)
        except TimeoutError as error:
            raise self._capacity_error(shortage) from error
        if self._slots.closed:
            raise PoolClosed("The gateway is shutting down.")
        self._slots.reserve(key, owner)
        self._budget.reserve(key)

    async def fit_memory(self, key: ModelKey, group: WorkerGroup) -> bool:
        """Measure a group that has just loaded, and evict others until all models fit the memory budget.

        Return False if versions that are busy or loading need their memory. The caller must then end the
        group and load it again later, when its size is known. Raise as `allocate` does.
        """
        await self._budget.measure_loaded(group)
        owner = self._slots.owner(key)
        try:
            async with asyncio.timeout(self._limits().request_seconds):
                while not self._slots.closed and await self._is_budget_exceeded():
                    self._slots.changed.clear()
                    self._reject_if_too_large(key)
                    if await self._end_idle_environment():
                        continue
                    victims = self._fair_share.victims(key, owner, shortage="memory")
                    if (victim := self._first_of(victims)) is not None:
                        await asyncio.wait([self._slots.evict(victim, "memory")])
                    elif key != self._slots.loading[0]:
                        return False
                    else:
                        await self._slots.changed.wait()
        except TimeoutError as error:
            raise self._capacity_error("memory") from error
        return True

    def release(self, key: ModelKey) -> None:
        """Give back what `allocate` reserved; a version that is loaded by now keeps its slot."""
        self._budget.release(key)
        self._slots.release(key)

    async def _shortage(self, key: ModelKey) -> Shortage | None:
        if self._slots_full():
            return "capacity"
        if await self._budget.fits(key):
            return "capacity" if self._slots_full() else None  # others may have loaded meanwhile
        return "memory"

    def _slots_full(self) -> bool:
        return self._slots.count >= self._limits().max_loaded_models

    async def _is_budget_exceeded(self) -> bool:
        if self._budget.is_exceeded():
            await self._budget.refresh()
        return self._budget.is_exceeded()

    async def _end_idle_environment(self) -> bool:
        """End the fork server of an environment without models; return False if there is none."""
        if (ending := self._environments.end_least_recently_used()) is None:
            return False
        await asyncio.wait([ending])
        return True

    def _choose_victim(self, key: ModelKey, owner: str | None, *, shortage: Shortage) -> ModelKey | None:
        """Return the version to evict, or None if evicting all that may be evicted would not be enough."""
        victims = self._fair_share.victims(key, owner, shortage=shortage)
        if shortage == "memory":
            evictable = sum(map(self._slots.memory_bytes, set(chain(*victims))))
            if evictable < self._budget.shortfall(key):
                return None
        return self._first_of(victims)

    def _first_of(self, groups: Collection[Collection[ModelKey]]) -> ModelKey | None:
        """Return the least recently used version of the first group that has any."""
        return self._slots.least_recently_used(next(filter(None, groups), ()))

    def _unload_busy(
        self, key: ModelKey, owner: str | None, *, shortage: Shortage
    ) -> asyncio.Task[None] | None:
        """Unload a busy version of an owner beyond its share, once it has answered; None if there is none."""
        busy = self._fair_share.busy_victims(key, owner, shortage=shortage)
        if (victim := self._slots.least_recently_used(busy)) is None:
            return None
        limits = self._slots.loaded[victim].group.limits
        longest = max(limits.request_seconds, limits.stream_seconds) + _TIMEOUT_REPLY_SECONDS
        return self._slots.evict(victim, "fair_share", drain_seconds=longest)

    def _eviction_possible(self) -> bool:
        """Whether waiting can help: a version is loading or unloading, or one is busy and not pinned."""
        slots = self._slots
        return bool(slots.loading) or slots.unloading or not slots.pinned.issuperset(slots.loaded)

    def _reject_if_too_large(self, key: ModelKey) -> None:
        """Raise ModelLoadError if the model can never fit, CapacityExceeded if pinned models prevent it."""
        if (available := self._budget.available_bytes) is None:
            return
        size = self._budget.measured_bytes(key)
        if size > available:
            raise ModelLoadError(
                f"The model takes {size // _MIB} MiB, more than the {available // _MIB} MiB "
                "that can be available for it."
            )
        pinned = [entry for each, entry in self._slots.loaded.items() if each in self._slots.pinned]
        if size > available - sum(entry.group.memory_bytes for entry in pinned):
            raise self._capacity_error("memory")

    def _capacity_error(self, shortage: Shortage | None) -> CapacityExceeded:
        if shortage == "capacity":
            limit = self._limits().max_loaded_models
            return CapacityExceeded(f"All {limit} models that may be loaded at once are busy or pinned.")
        return CapacityExceeded("The memory for models is in use by others, all of them busy or pinned.")
