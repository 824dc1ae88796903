"""The memory that the gateway and its loaded models use together, compared with a limit."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, Final

from cachetools import FIFOCache

from workers.pool import process_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from workers.limits import PoolLimits
    from workers.process.environment_forkserver import EnvironmentForkServer
    from workers.process.forkserver import ForkServer
    from workers.protocol.messages import ModelKey
    from workers.scheduler.worker_group import WorkerGroup

logger = logging.getLogger(__name__)

_MIN_ESTIMATE_BYTES: Final = 32 * 2**20  # for a model that was never loaded
_ENVIRONMENT_ESTIMATE_BYTES: Final = 256 * 2**20  # of a fork server with pandas, scikit-learn and MLflow
_MAX_ENTRIES: Final = 10_000
_REFRESH_THRESHOLD: Final = 0.5  # the part of the limit above which every load measures all processes
_FRESH_SECONDS: Final = 1.0  # a measurement that is younger is not repeated


class MemoryBudget:
    """An account of the PSS of all processes, in bytes, against one limit.

    A model uses the private pages of its processes. The pages that workers share with the fork server
    count once, as base memory, and so do the fork servers of environments. A model that was never loaded is
    estimated as the average of the models that were, each measured after its load. There is no limit if the
    system does not report PSS.
    """

    def __init__(
        self,
        limits: Callable[[], PoolLimits],
        *,
        forkserver: ForkServer,
        groups: Callable[[], Iterable[WorkerGroup]],
        environments: Callable[[], Iterable[EnvironmentForkServer]] = tuple,
    ) -> None:
        """`groups` returns the groups that have processes now, the ones that are unloading last.

        `environments` returns the fork servers of environments that may have processes.
        """
        self._limits = limits
        self._forkserver = forkserver
        self._groups = groups
        self._environments = environments
        self._environment_bytes: dict[str, int] = {}
        self._supported = process_memory.is_supported()
        self._base_bytes = 0
        # Not an LRUCache: an estimate reads every entry, so the last use would say nothing.
        self._bytes_at_load: FIFOCache[ModelKey, int] = FIFOCache(_MAX_ENTRIES)
        self._reserved: dict[ModelKey, int] = {}
        self._measure_lock = asyncio.Lock()
        self._measured_at = float("-inf")
        self._measured_pids: set[int] = set()
        if limits().memory_bytes is not None and not self._supported:
            logger.warning(
                "Memory budget is not enforced: this system does not report the memory of a process",
                extra={"event": "memory_budget_unsupported"},
            )

    @property
    def limit(self) -> int | None:
        """The most bytes that may be used, or None for no limit."""
        return self._limits().memory_bytes if self._supported else None

    @property
    def base_bytes(self) -> int:
        """Bytes of the gateway's process, of the fork servers and of what workers share with them."""
        return self._base_bytes

    @property
    def environment_bytes(self) -> dict[str, int]:
        """The part of the base memory that the fork server of each environment uses, by the digest."""
        return dict(self._environment_bytes)

    @property
    def available_bytes(self) -> int | None:
        """The most bytes that all models may use together, or None for no limit."""
        if (limit := self.limit) is None:
            return None
        return max(0, limit - self._base_bytes + sum(self._environment_bytes.values()))

    @property
    def used_bytes(self) -> int:
        """Bytes of all processes when last measured, plus the estimates for what is starting."""
        groups = tuple(self._groups())
        # A version may be loading while its last group is unloading: the one that is listed first counts.
        measured = {group.source.key: group.memory_bytes for group in reversed(groups)}
        expected = sum(max(0, size - measured.get(key, 0)) for key, size in self._reserved.items())
        unmeasured = sum(
            server.environment.digest not in self._environment_bytes for server in self._environments()
        )
        expected += _ENVIRONMENT_ESTIMATE_BYTES * unmeasured
        return self._base_bytes + sum(group.memory_bytes for group in groups) + expected

    def is_exceeded(self) -> bool:
        """Whether more memory is used than the limit allows."""
        limit = self.limit
        return limit is not None and self.used_bytes > limit

    def shortfall(self, key: ModelKey) -> int:
        """Return how many bytes are missing to load one more model."""
        limit = self.limit
        return 0 if limit is None else max(0, self.used_bytes + self.estimated_bytes(key) - limit)

    def measured_bytes(self, key: ModelKey) -> int:
        """Return the bytes that a model used right after its last load, or 0 if it was never loaded."""
        return self._bytes_at_load.get(key, 0)

    def estimated_bytes(self, key: ModelKey) -> int:
        """Return the bytes that a model will use after its load, without later growth."""
        average = sum(self._bytes_at_load.values()) // max(1, len(self._bytes_at_load))
        return self.measured_bytes(key) or max(_MIN_ESTIMATE_BYTES, average)

    async def fits(self, key: ModelKey) -> bool:
        """Return whether there is memory for one more model; measure again before saying no."""
        if self.shortfall(key):
            await self.refresh()
        return not self.shortfall(key)

    async def fits_environment(self) -> bool:
        """Return whether there is memory for one more fork server; measure again before saying no."""
        if self._is_short_of_environment():
            await self.refresh()
        return not self._is_short_of_environment()

    def _is_short_of_environment(self) -> bool:
        limit = self.limit
        return limit is not None and self.used_bytes + _ENVIRONMENT_ESTIMATE_BYTES > limit

    def reserve(self, key: ModelKey) -> None:
        """Set aside the estimated memory of a model that will be loaded."""
        self._reserved[key] = self.estimated_bytes(key)

    def release(self, key: ModelKey) -> None:
        """Drop the estimate: the model is measured by now, or is not loaded after all."""
        self._reserved.pop(key, None)

    async def measure_loaded(self, group: WorkerGroup) -> None:
        """Measure a model that has just been loaded, and all processes if memory may be short."""
        limit, pids = self.limit, tuple(group.pids)
        if limit is None:
            return
        if size := await asyncio.to_thread(lambda: sum(map(process_memory.private_bytes, pids))):
            key = group.source.key
            group.memory_bytes = size
            self.release(key)
            self._bytes_at_load[key] = size
        if self.used_bytes > limit * _REFRESH_THRESHOLD:
            await self.refresh()

    async def refresh(self) -> None:
        """Measure all processes, unless that was just done and no process has started or ended since."""
        async with self._measure_lock:
            outdated = asyncio.get_running_loop().time() - self._measured_at >= _FRESH_SECONDS
            if outdated or self._measured_pids != self._pids():
                await self._measure()

    async def measure(self) -> None:
        """Measure all processes."""
        async with self._measure_lock:
            await self._measure()

    async def _measure(self) -> None:
        by_pid, servers = self._groups_by_pid(), {each.pid: each for each in self._environments() if each.pid}
        self._measured_at, self._measured_pids = asyncio.get_running_loop().time(), self._pids()
        keepers = {pid: server.measure_pss for pid, server in servers.items()}
        try:
            usage = await asyncio.to_thread(
                process_memory.measure_all, self._forkserver.pid, self._forkserver.measure_pss, keepers
            )
        except OSError:
            return  # out of descriptors: the last measurement stays valid
        self._base_bytes = max(0, usage.total_bytes - sum(usage.worker_bytes.values()))
        measured: Counter[str] = Counter()  # a private environment may have several servers
        for pid, size in usage.environment_bytes.items():
            measured[servers[pid].environment.digest] += size
        self._environment_bytes = dict(measured)
        for group in set(by_pid.values()):
            pids = [pid for pid, other in by_pid.items() if other is group]
            group.memory_bytes = sum(usage.worker_bytes.get(pid, 0) for pid in pids) or group.memory_bytes

    def _pids(self) -> set[int]:
        return {*self._groups_by_pid(), *(each.pid for each in self._environments() if each.pid is not None)}

    def _groups_by_pid(self) -> dict[int, WorkerGroup]:
        return {pid: group for group in self._groups() for pid in group.pids}
