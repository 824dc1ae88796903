"""The memory that loaded models may take together, and what they take of it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from workers.pool import process_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from workers.process.forkserver import ForkServer
    from workers.protocol.messages import ModelKey
    from workers.scheduler.worker_group import WorkerGroup

logger = logging.getLogger(__name__)

_MIN_ESTIMATE_BYTES: Final = 32 * 2**20  # what is known of no model yet
_MAX_ENTRIES: Final = 10_000
_REFRESH_THRESHOLD: Final = 0.5
_FRESH_SECONDS: Final = 1.0  # what was measured within this time is not measured again


class MemoryBudget:
    """Keeps account of every process of ours, in bytes of PSS, against a limit for all together.

    What a model takes is what its processes have for themselves; what they share with the template counts
    once, as ours. A model that was never loaded is expected to take what the others took as they were
    loaded, on average. Where the system does not tell what a process takes, there is no limit.
    """

    def __init__(
        self, limit: int | None, *, forkserver: ForkServer, groups: Callable[[], Iterable[WorkerGroup]]
    ) -> None:
        """`crews` are those that have processes now; None as limit: whatever there is."""
        self.limit: int | None = None
        self.set_limit(limit)
        self._forkserver = forkserver
        self._groups = groups
        self._base_bytes = 0
        self._bytes_at_load: dict[ModelKey, int] = {}
        self._reserved: dict[ModelKey, int] = {}
        self._measure_lock = asyncio.Lock()
        self._measured_at = float("-inf")
        self._measured_pids: set[int] = set()

    def set_limit(self, limit: int | None) -> None:
        """Have another limit from now on."""
        self.limit = limit if process_memory.is_supported() else None
        if limit is not None and self.limit is None:
            logger.warning("This system does not tell what a process takes: the memory budget is not kept.")

    @property
    def base_bytes(self) -> int:
        """Bytes of the gateway's process, of the template and of what workers share with it."""
        return self._base_bytes

    def is_exceeded(self) -> bool:
        """Whether more is taken than may be."""
        return self.limit is not None and self.used_bytes > self.limit

    @property
    def used_bytes(self) -> int:
        """Bytes of everything that runs, when last measured, and of what is being loaded, as expected."""
        crews = tuple(self._groups())
        starting = {
            crew.source.key: crew.memory_bytes for crew in reversed(crews)
        }  # of two the one not ending
        awaited = sum(max(0, size - starting.get(key, 0)) for key, size in self._reserved.items())
        return self._base_bytes + sum(crew.memory_bytes for crew in crews) + awaited

    def shortfall(self, key: ModelKey) -> int:
        """Bytes that are too few for one more model."""
        return 0 if self.limit is None else max(0, self.used_bytes + self.estimated_bytes(key) - self.limit)

    def measured_bytes(self, key: ModelKey) -> int:
        """Bytes that a model took when it had just been loaded; 0 where it never was."""
        return self._bytes_at_load.get(key, 0)

    def estimated_bytes(self, key: ModelKey) -> int:
        """Bytes that a model will take when it is loaded; what it may grow to is not among them."""
        average = sum(self._bytes_at_load.values()) // max(1, len(self._bytes_at_load))
        return self.measured_bytes(key) or max(_MIN_ESTIMATE_BYTES, average)

    async def fits(self, key: ModelKey) -> bool:
        """Whether there is memory for one more model; measures anew before it says no."""
        if self.shortfall(key):
            await self.refresh()
        return not self.shortfall(key)

    def reserve(self, key: ModelKey) -> None:
        """Set aside what a model that is being loaded will take."""
        self._reserved[key] = self.estimated_bytes(key)

    def release(self, key: ModelKey) -> None:
        """It counts as what it takes from now on; or it is not going to be loaded."""
        self._reserved.pop(key, None)

    async def measure_loaded(self, crew: WorkerGroup) -> None:
        """Learn what a model takes that has just been loaded; and everything, where that may be much."""
        limit, pids = self.limit, tuple(crew.pids)
        if limit is None:
            return
        if found := await asyncio.to_thread(lambda: sum(map(process_memory.private_bytes, pids))):
            key = crew.source.key
            crew.memory_bytes = found
            self.release(key)
            self._bytes_at_load.pop(key, None)
            self._bytes_at_load[key] = found
            if len(self._bytes_at_load) > _MAX_ENTRIES:
                del self._bytes_at_load[next(iter(self._bytes_at_load))]
        if self.used_bytes > limit * _REFRESH_THRESHOLD:
            await self.refresh()

    async def refresh(self) -> None:
        """Measure, unless that was just done: with each process that goes or comes, all shares change."""
        async with self._measure_lock:
            old = asyncio.get_running_loop().time() - self._measured_at >= _FRESH_SECONDS
            if old or self._measured_pids != self._groups_by_pid().keys():
                await self._measure()

    async def measure(self) -> None:
        """Learn what everything takes now."""
        async with self._measure_lock:
            await self._measure()

    async def _measure(self) -> None:
        crew_of = self._groups_by_pid()
        self._measured_at, self._measured_pids = asyncio.get_running_loop().time(), set(crew_of)
        try:
            found = await asyncio.to_thread(process_memory.measure_all, self._forkserver.pid)
        except OSError:
            return  # no descriptor is left to look with: what was known holds on
        self._base_bytes = max(0, found.total_bytes - sum(found.worker_bytes.values()))
        for crew in set(crew_of.values()):
            pids = [pid for pid, other in crew_of.items() if other is crew]
            crew.memory_bytes = sum(found.worker_bytes.get(pid, 0) for pid in pids) or crew.memory_bytes

    def _groups_by_pid(self) -> dict[int, WorkerGroup]:
        """Whose each warm process is."""
        return {pid: crew for crew in self._groups() for pid in crew.pids}
