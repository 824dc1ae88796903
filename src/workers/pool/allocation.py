"""Finds a slot and memory for a version that will be loaded, and evicts others for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal

from workers.errors import CapacityExceeded, ModelLoadError, PoolClosed

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.limits import PoolLimits
    from workers.pool.memory_budget import MemoryBudget
    from workers.pool.slots import ModelSlots
    from workers.protocol.messages import ModelKey
    from workers.scheduler.worker_group import WorkerGroup

Shortage = Literal["capacity", "memory"]

_MIB: Final = 2**20


class SlotAllocator:
    """An allocator of slots and memory that evicts the least recently used versions if it must."""

    def __init__(self, limits: Callable[[], PoolLimits], slots: ModelSlots, *, budget: MemoryBudget) -> None:
        self._limits = limits
        self._slots = slots
        self._budget = budget

    async def allocate(self, key: ModelKey) -> None:
        """Wait for a slot and memory for one more version, and reserve both.

        Raise ModelLoadError if the model is known to need more memory than it can ever get. Raise
        CapacityExceeded if nothing is free within the time of a request, or if only pinned versions could
        be evicted. Raise PoolClosed if the pool closes.
        """
        shortage: Shortage | None = None
        try:
            async with asyncio.timeout(self._limits().request_seconds):
                while not self._slots.closed and (shortage := await self._shortage(key)):
                    self._slots.changed.clear()
                    if shortage == "memory":
                        self._reject_if_too_large(key)
                    if (victim := self._choose_victim(key, shortage)) is not None:
                        await asyncio.wait([self._slots.evict(victim, shortage)])
                    elif self._eviction_possible():
                        await self._slots.changed.wait()
                    else:
                        raise self._capacity_error(shortage)
        except TimeoutError as error:
            raise self._capacity_error(shortage) from error
        if self._slots.closed:
            raise PoolClosed("The gateway is shutting down.")
        self._slots.reserve(key)
        self._budget.reserve(key)

    async def fit_memory(self, key: ModelKey, group: WorkerGroup) -> bool:
        """Measure a group that has just loaded, and evict others until all models fit the memory budget.

        Return False if versions that are busy or loading need their memory. The caller must then end the
        group and load it again later, when its size is known. Raise as `allocate` does.
        """
        await self._budget.measure_loaded(group)
        try:
            async with asyncio.timeout(self._limits().request_seconds):
                while not self._slots.closed and await self._is_budget_exceeded():
                    self._slots.changed.clear()
                    self._reject_if_too_large(key)
                    if (victim := self._slots.least_recently_used()) is not None:
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

    def _choose_victim(self, key: ModelKey, shortage: Shortage) -> ModelKey | None:
        """Return the version to evict, or None if evicting all that can be evicted would not be enough."""
        if shortage == "memory":
            evictable = sum(self._slots.loaded[each].group.memory_bytes for each in self._slots.evictable())
            if evictable < self._budget.shortfall(key):
                return None
        return self._slots.least_recently_used()

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
