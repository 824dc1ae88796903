"""The places of loaded models: bounded in number and memory, the least recently used gives way."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from workers.errors import CapacityExceeded, ModelLoadError, PoolClosed
from workers.metrics import MODEL_UNLOADS
from workers.pool.memory_budget import MemoryBudget

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from workers.limits import PoolLimits
    from workers.metrics import Counters
    from workers.process.forkserver import ForkServer
    from workers.protocol.messages import ModelKey
    from workers.scheduler.worker_group import WorkerGroup

    Shortage = Literal["", "room", "memory"]
    UnloadReason = Literal["asked", "closing", "idle", "lost", "memory", "room"]

logger = logging.getLogger(__name__)

_MIB: Final = 2**20
_MEASURE_INTERVAL_SECONDS: Final = 5.0
_SURPLUS_CHECK_SECONDS: Final = 1.0  # until those who are too many, and were busy, are looked at again


@dataclass(eq=False, slots=True)
class LoadedEntry:
    """A crew, and what must stay as long as it is there (its files).

    Whoever waited for the load comes with a job at once: until the first one does, or this short
    time is over, the crew is not the one that gives up its place.
    """

    group: WorkerGroup
    exit_stack: AsyncExitStack
    protected_until: float


class ModelSlots:
    """Who is loaded, who is being loaded, and who may not be unloaded.

    `held` are loaded, and take jobs; `pinned` never give way, and neither does who is busy.
    """

    def __init__(self, limits: PoolLimits, counters: Counters, *, forkserver: ForkServer) -> None:
        self._limits = limits
        self._counters = counters
        self._unloading: dict[asyncio.Task[None], WorkerGroup] = {}
        self._loading: dict[ModelKey, WorkerGroup | None] = {}
        self._over_budget_logged = False
        self.budget = MemoryBudget(limits.memory_bytes, forkserver=forkserver, groups=self._groups)
        self.loaded: dict[ModelKey, LoadedEntry] = {}
        self.pinned: set[ModelKey] = set()
        self.changed = asyncio.Event()
        self._limits_changed = asyncio.Event()
        self.closed = False

    def set_limits(self, limits: PoolLimits) -> None:
        """Have other limits from now on."""
        self._limits = limits
        self.budget.set_limit(limits.memory_bytes)
        self.changed.set()
        self._limits_changed.set()

    @property
    def loading(self) -> tuple[ModelKey, ...]:
        """Those that have a place, and are not loaded yet."""
        return tuple(self._loading)

    async def reserve(self, key: ModelKey) -> None:
        """Wait for a place, which the least recently used model that is idle and not pinned gives up.

        Raises LoadFailed where the model is known to take more than there ever is for it, NoRoom where no
        place is free within the time of a request or pinned ones have it, PoolClosed.
        """
        lack: Shortage = "memory"
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                while not self.closed and (lack := await self._shortage(key)):
                    self.changed.clear()
                    if lack == "memory":
                        self._reject_if_too_large(key)
                    if (victim := self._choose_victim(key, lack)) is not None:
                        logger.info("%s is unloaded to make room.", victim)
                        await asyncio.wait([self.unload(victim, lack)])
                    elif self._eviction_possible():
                        await self.changed.wait()
                    else:
                        raise self._capacity_error(lack)
        except TimeoutError as error:
            raise self._capacity_error(lack) from error
        self._require_open()
        self._loading[key] = None
        self.budget.reserve(key)

    def attach(self, key: ModelKey, crew: WorkerGroup) -> None:
        """Note whose processes are started in the place that was reserved."""
        self._loading[key] = crew

    async def fit_memory(self, key: ModelKey, crew: WorkerGroup) -> bool:
        """Have what was loaded within the memory there is, by unloading others.

        False where others that are busy or being loaded need theirs: then it is to be ended, and loaded
        again later; what it takes is known by then. Raises as `reserve` does.
        """
        await self.budget.measure_loaded(crew)
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                while not self.closed and await self._is_budget_exceeded():
                    self.changed.clear()
                    self._reject_if_too_large(key)
                    if (victim := self.least_recently_used()) is not None:
                        logger.info("%s is unloaded for the memory that %s takes.", victim, key)
                        await asyncio.wait([self.unload(victim, "memory")])
                    elif key != self.loading[0]:
                        return False
                    else:
                        await self.changed.wait()
        except TimeoutError as error:
            raise self._capacity_error("memory") from error
        return True

    def commit(self, key: ModelKey, held: LoadedEntry) -> None:
        """The model is loaded, and takes jobs."""
        self.loaded[key] = held

    def release(self, key: ModelKey) -> None:
        """Loading is over, however it ended."""
        self._loading.pop(key, None)
        self.budget.release(key)
        self.changed.set()

    def least_recently_used(self) -> ModelKey | None:
        """The model that gives way first; None where all are busy, pinned or awaited."""
        return min(self._evictable(), key=lambda key: self.loaded[key].group.used, default=None)

    def unload(
        self, key: ModelKey, reason: UnloadReason, *, drain_seconds: float = 0.0
    ) -> asyncio.Task[None]:
        """Take no more jobs for `key`, and end its workers in a task of this room's own."""
        held = self.loaded.pop(key)
        self._counters.increment(MODEL_UNLOADS, key.name, key.version, reason)
        task = asyncio.create_task(_close_entry(held, drain_seconds=drain_seconds), name=f"unload {key}")
        self._unloading[task] = held.group
        task.add_done_callback(self._on_unloaded)
        return task

    def stop_admitting(self) -> None:
        """Give out no more places."""
        self.closed = True
        self.changed.set()

    async def close(self, *, drain_seconds: float) -> None:
        """Give out no more places, and end everybody's workers once they have answered."""
        self.stop_admitting()
        for key in list(self.loaded):
            self.unload(key, "closing", drain_seconds=drain_seconds)
        while self._unloading:
            await asyncio.wait(self._unloading)

    async def evict_idle_forever(self) -> None:
        """Unload whoever nobody asks, and whoever is one too many under other limits, until cancelled."""
        while True:
            self._limits_changed.clear()
            pause = _SURPLUS_CHECK_SECONDS if self._evict_surplus() else self._evict_idle()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._limits_changed.wait()

    def _evict_surplus(self) -> bool:
        """Unload those for whom there is no place any more; whether some are left, who are busy or pinned."""
        while (surplus := len(self.loaded) + len(self._loading) > self._limits.max_loaded_models) and (
            key := self.least_recently_used()
        ) is not None:
            logger.info("%s is unloaded: fewer models may be loaded now.", key)
            self.unload(key, "room")
        return surplus

    def _evict_idle(self) -> float | None:
        """Unload those whose time is over; the seconds until the next may be, None for never."""
        idle_seconds = self._limits.idle_seconds
        if not idle_seconds:
            return None
        now = asyncio.get_running_loop().time()
        while (key := self.least_recently_used()) is not None:
            left = self.loaded[key].group.used + idle_seconds - now
            if left > 0:
                return left
            logger.info("%s is unloaded: nobody has asked for it for %g s.", key, idle_seconds)
            self.unload(key, "idle")
        return idle_seconds

    async def enforce_memory_budget(self) -> None:
        """Look every few seconds at what the models take, and unload as long as it is too much."""
        while True:
            await self.budget.measure()
            while self.budget.is_exceeded() and (key := self.least_recently_used()) is not None:
                logger.info("%s is unloaded: the models have grown over the memory budget.", key)
                await asyncio.wait([self.unload(key, "memory")])
            self._warn_if_over_budget()
            await asyncio.sleep(_MEASURE_INTERVAL_SECONDS)

    def _warn_if_over_budget(self) -> None:
        over, limit = self.budget.is_exceeded(), self.budget.limit
        if over and not self._over_budget_logged and limit is not None:
            taken = self.budget.used_bytes // _MIB
            message = "%d MiB are taken of a memory budget of %d MiB, and every model is busy or pinned."
            logger.warning(message, taken, limit // _MIB)
        self._over_budget_logged = over

    async def _shortage(self, key: ModelKey) -> Shortage:
        """What there is too little of for one more model."""
        if len(self.loaded) + len(self._loading) >= self._limits.max_loaded_models:
            return "room"
        if await self.budget.fits(key):
            return "room" if len(self.loaded) + len(self._loading) >= self._limits.max_loaded_models else ""
        return "memory"

    def _evictable(self) -> list[ModelKey]:
        now = asyncio.get_running_loop().time()
        return [
            key
            for key, held in self.loaded.items()
            if key not in self.pinned and not held.group.busy and held.protected_until <= now
        ]

    def _eviction_possible(self) -> bool:
        return bool(self._loading or self._unloading) or not self.pinned.issuperset(self.loaded)

    def _capacity_error(self, lack: Shortage) -> CapacityExceeded:
        if lack == "memory":
            return CapacityExceeded("The memory for models is taken by others, all of them busy or pinned.")
        most = self._limits.max_loaded_models
        return CapacityExceeded(f"All {most} models that may be loaded at once are busy or pinned.")

    async def _is_budget_exceeded(self) -> bool:
        if self.budget.is_exceeded():
            await self.budget.refresh()
        return self.budget.is_exceeded()

    def _choose_victim(self, key: ModelKey, lack: Shortage) -> ModelKey | None:
        """Who gives way for `key`; nobody where all who may would not be enough."""
        if lack == "memory" and sum(
            self.loaded[each].group.memory_bytes for each in self._evictable()
        ) < self.budget.shortfall(key):
            return None
        return self.least_recently_used()

    def _reject_if_too_large(self, key: ModelKey) -> None:
        """Raise LoadFailed where a model takes more than there is, NoRoom where pinned ones have it."""
        if self.budget.limit is None:
            return
        size, there_is = self.budget.measured_bytes(key), max(0, self.budget.limit - self.budget.base_bytes)
        if size > there_is:
            told = f"The model takes {size // _MIB} MiB, more than the {there_is // _MIB} MiB"
            raise ModelLoadError(f"{told} there can be for it.")
        pinned = sum(
            self.loaded[each].group.memory_bytes
            for each in self.pinned
            if each in self.loaded and each != key
        )
        if size > there_is - pinned:
            raise self._capacity_error("memory")

    def _require_open(self) -> None:
        if self.closed:
            raise PoolClosed("The gateway is shutting down.")

    def _groups(self) -> list[WorkerGroup]:
        """Everybody who has processes."""
        starting = [crew for crew in self._loading.values() if crew is not None]
        return [*(held.group for held in self.loaded.values()), *starting, *self._unloading.values()]

    def _on_unloaded(self, task: asyncio.Task[None]) -> None:
        del self._unloading[task]
        self.changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "A model could not be unloaded in order.", "exception": error, "task": task}
            )


async def _close_entry(held: LoadedEntry, *, drain_seconds: float) -> None:
    try:
        await held.group.close(drain_seconds=drain_seconds)
    finally:
        await held.exit_stack.aclose()
