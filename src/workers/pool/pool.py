"""The pool of loaded model versions: the gateway's only way to the worker processes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from workers.answer_memory import AnswerLimits, UnlimitedAnswerMemory
from workers.errors import ModelNotLoaded, ModelPinned, PoolClosed
from workers.metrics import Counters
from workers.pool import status
from workers.pool.allocation import SlotAllocator
from workers.pool.background_loops import BackgroundLoops
from workers.pool.device_allocation import DeviceAllocator
from workers.pool.environment_allocation import EnvironmentAllocator
from workers.pool.environment_servers import IDLE_SECONDS, EnvironmentServers
from workers.pool.eviction import Evictor
from workers.pool.fairness import FairShare
from workers.pool.load_backoff import INITIAL_RETRY_SECONDS, LoadBackoff
from workers.pool.loading import ModelLoader
from workers.pool.memory_budget import MemoryBudget
from workers.pool.slots import ModelSlots, log_unloaded
from workers.pool.worker_starts import WorkerStarts
from workers.process.forkserver import DEFAULT_WALL, ForkServer
from workers.process.forkserver_log import ForkServerLog

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from workers.answer_memory import AnswerMemory
    from workers.devices.inventory import DeviceInventory
    from workers.errors import EnvironmentBroken
    from workers.limits import PoolLimits, Preload
    from workers.pool.loading import Reservation
    from workers.pool.status import DeviceReport, MemoryReport, ModelStatus
    from workers.prediction_stream import PredictionStream
    from workers.protocol.messages import Job, ModelKey, Reply
    from workers.scheduler.worker_group import WorkerGroup
    from workers.spawn_health import SpawnHealth
    from workers.submission import Submission
    from workers.wall.policy import WallPolicy

_MEASURE_INTERVAL_SECONDS: Final = 5.0
_TIMEOUT_REPLY_SECONDS: Final = 1.0  # for requests that time out during an unload to get that error


class Pool:
    """A pool of worker groups by model name, version and fingerprint. Used from one event loop."""

    def __init__(
        self,
        limits: Callable[[], PoolLimits],
        *,
        environment: Mapping[str, str] | None = None,
        counters: Counters | None = None,
        answer_memory: AnswerMemory | None = None,
        preload: Preload = "full",
        wall: WallPolicy = DEFAULT_WALL,
        devices: DeviceInventory | None = None,
        fork_timeout_seconds: float = 60.0,
        load_retry_seconds: float = INITIAL_RETRY_SECONDS,
        measure_interval_seconds: float = _MEASURE_INTERVAL_SECONDS,
        environment_idle_seconds: float = IDLE_SECONDS,
        on_environment_broken: Callable[[EnvironmentBroken], None] = lambda _: None,
    ) -> None:
        """`limits` returns the current limits, at once; call `notify_limits_changed` when they change.

        `environment` is all that workers see of the environment; None leaves them this process' own.
        `wall` confines them. `devices` finds the GPUs that models may have a share of. `answer_memory` counts
        large answers; None does not limit them. `fork_timeout_seconds` is for the fork server to fork a
        worker. `load_retry_seconds` is the pause after a version's first failed load. Memory is measured
        every `measure_interval_seconds`.
        The fork server of an environment without models ends after `environment_idle_seconds`.
        `on_environment_broken` is called, at once, each time that nothing can run in an environment.
        """
        self.counters = counters or Counters()
        self._forkserver = ForkServer(
            environment,
            preload=preload,
            wall=wall,
            fork_timeout_seconds=fork_timeout_seconds,
        )
        self._starts = WorkerStarts(self._forkserver)
        self._slots = ModelSlots(self.counters)
        self._environments = EnvironmentServers(
            environment,
            wall=wall,
            fork_timeout_seconds=fork_timeout_seconds,
            load_seconds=lambda: limits().load_seconds,
            counters=self.counters,
            on_change=self._slots.changed.set,
            idle_seconds=environment_idle_seconds,
        )
        self._budget = MemoryBudget(
            limits,
            forkserver=self._forkserver,
            groups=self._slots.groups,
            environments=self._environments.servers,
        )
        fair_share = FairShare(limits, self._slots, budget=self._budget)
        self._evictor = Evictor(
            limits,
            self._slots,
            budget=self._budget,
            fair_share=fair_share,
            environments=self._environments,
            measure_interval_seconds=measure_interval_seconds,
        )
        self._load_backoff = LoadBackoff(load_retry_seconds)
        self._devices = DeviceAllocator(limits, self._slots, fair_share=fair_share, inventory=devices)
        self._loader = ModelLoader(
            limits,
            self._slots,
            devices=self._devices,
            allocator=SlotAllocator(
                limits,
                self._slots,
                budget=self._budget,
                fair_share=fair_share,
                environments=self._environments,
            ),
            environments=EnvironmentAllocator(
                limits, self._slots, self._environments, budget=self._budget, fair_share=fair_share
            ),
            forkserver=self._forkserver,
            spawn_executor=self._starts.executor,
            counters=self.counters,
            backoff=self._load_backoff,
            answers=AnswerLimits(lambda: limits().max_answer_bytes, answer_memory or UnlimitedAnswerMemory()),
            on_environment_broken=on_environment_broken,
        )
        self._loops = BackgroundLoops()

    async def open(self) -> None:
        """Start the fork server, whose imports continue in its process, and the eviction loops.

        If it cannot be started now, the first start of a worker says so.
        """
        self._forkserver.events = ForkServerLog(self.counters)
        with suppress(OSError):
            self._forkserver.ensure_running()
        self._loops.start(self._evictor.evict_idle_forever, name="evict idle models")
        self._devices.open()
        self._loops.start(self._devices.measure_forever, name="device memory")
        if self._budget.limit is not None:
            self._loops.start(self._evictor.enforce_memory_budget_forever, name="memory budget")

    async def close(self, *, drain_seconds: float) -> None:
        """Take no more requests, answer the ones that wait or run within `drain_seconds`, end all workers."""
        self._slots.stop_admitting()
        self._environments.kill_starting()
        await self._loops.close()
        await self._devices.close()
        try:
            await self._slots.close(drain_seconds=drain_seconds)
        finally:  # workers would live on, and the interpreter wait for them
            await self._environments.close()
            await self._starts.close()

    def notify_limits_changed(self) -> None:
        """Apply changed limits at once; a loaded model keeps the queue and times it was loaded with."""
        self._slots.changed.set()
        self._evictor.notify_limits_changed()

    def notify_owners_changed(self) -> None:
        """Have loads that wait for a slot look again, because one more owner waits for one of them."""
        self._slots.changed.set()

    @property
    def spawn_health(self) -> SpawnHealth:
        """The record of whether worker processes can be started."""
        return self._forkserver.spawn_health

    async def probe_spawn(self) -> None:
        """Start and end a process that does nothing, and record the outcome in `spawn_health`."""
        await self._starts.probe()

    @property
    def has_warm_models(self) -> bool:
        """Whether any loaded model has a worker."""
        return any(entry.group.pids for entry in self._slots.loaded.values())

    def is_loaded(self, key: ModelKey) -> bool:
        """Whether `predict` can be called for a version."""
        return key in self._slots.loaded

    def status(self, key: ModelKey) -> ModelStatus:
        """Return how a version is served now."""
        return status.model_status(key, self._slots, load_backoff=self._load_backoff, devices=self._devices)

    def statuses(self) -> dict[ModelKey, ModelStatus]:
        """Return the status of every version that is loaded or loading."""
        return {key: self.status(key) for key in (*self._slots.loaded, *self._slots.loading)}

    def failures(self) -> dict[ModelKey, str]:
        """Return why each version failed to load that is not tried again yet."""
        failed = self._load_backoff.all_active()
        return {key: str(error) for key, error in failed.items() if key not in self._slots.loaded}

    @property
    def environments(self) -> frozenset[str]:
        """The digests of the environments that have processes."""
        return frozenset(server.environment.digest for server in self._environments.servers())

    @property
    def pinned(self) -> frozenset[ModelKey]:
        """The versions that are never evicted."""
        return frozenset(self._slots.pinned)

    def memory_report(self) -> MemoryReport:
        """Return the memory that was in use when it was last measured."""
        return status.memory_report(self._slots, self._budget)

    def device_reports(self) -> list[DeviceReport]:
        """Return what is known of each GPU that models may have a share of."""
        return status.device_reports(self._devices.shares)

    def pin(self, key: ModelKey) -> None:
        """Never evict a version once it is loaded."""
        self._slots.pinned.add(key)

    def unpin(self, key: ModelKey) -> None:
        """Let a version be evicted again."""
        self._slots.pinned.discard(key)

    def reserve(
        self, key: ModelKey, *, owners: Collection[str | None] = ()
    ) -> AbstractAsyncContextManager[Reservation]:
        """Wait for a slot for a version that is not loaded; fetch its files, then call `Reservation.load`.

        `owners` are the names of those that wait for it, None for one without a name. If no slot is free, the
        models of others are evicted only as far as theirs are fewer (`FairShare`). If `owners` grows, call
        `notify_owners_changed`. Only one caller at a time may load a version.

        Raise ModelLoadError if it failed to load recently, or needs more memory than it can get. Raise
        CapacityExceeded if no slot is free in time, PoolClosed if the pool closes.
        """
        return self._loader.reserve(key, owners=owners)

    async def predict(self, key: ModelKey, job: Job) -> Reply:
        """Return the reply of a loaded version.

        Raise ModelNotLoaded, QueueFull, PredictionTimeout, InvalidInput, UnsupportedMediaType,
        NotAcceptable, ModelError, WorkerCrashed or PoolClosed.
        """
        return await self._group(key).predict(job)

    def submit(
        self, key: ModelKey, ids: Sequence[int], jobs: Sequence[Job], on_done: Callable[[int, Any], None]
    ) -> list[Submission]:
        """Have `on_done` called with the id of each job, and the reply or what `predict` raises.

        It costs no task, and no coroutine that waits. It is called now for jobs that find the queue full;
        return the others, which are the first ones. Raise ModelNotLoaded or PoolClosed. See Submission for
        what `on_done` may do.
        """
        return self._group(key).submit(ids, jobs, on_done)

    def watch(self, on_change: Callable[[], None]) -> None:
        """Have `on_change` called whenever a version begins to load, is loaded, unloaded, or failed."""
        self._slots.on_change = on_change

    def busy_seconds(self) -> dict[ModelKey, float]:
        """Return how long the workers of each loaded version have been busy, on average of its workers."""
        return {key: entry.group.dispatcher.slots.busy_seconds for key, entry in self._slots.loaded.items()}

    async def stream(self, key: ModelKey, job: Job) -> PredictionStream:
        """Return the reply of a loaded version in chunks; the first one has been computed.

        The caller must close the stream; the model is busy until then. Raise StreamingNotSupported, and
        what `predict` raises.
        """
        return await self._group(key).stream(job)

    async def unload(self, *keys: ModelKey) -> None:
        """End the versions' workers after they have answered the requests that wait or run.

        Versions that are not loaded are ignored. Raise ModelPinned if any is pinned, and unload none then.
        """
        if pinned := [str(key) for key in keys if key in self._slots.pinned]:
            raise ModelPinned(f"{', '.join(pinned)} is pinned by the gateway's settings and stays loaded.")
        groups = {key: self._slots.loaded[key].group for key in keys if key in self._slots.loaded}
        for key in groups:
            log_unloaded(key, "request")
        unloads = [
            self._slots.unload(
                key, "request", drain_seconds=group.limits.request_seconds + _TIMEOUT_REPLY_SECONDS
            )
            for key, group in groups.items()
        ]
        await asyncio.gather(*map(asyncio.shield, unloads))

    def _group(self, key: ModelKey) -> WorkerGroup:
        entry = self._slots.loaded.get(key)
        if entry is None:
            if self._slots.closed:
                raise PoolClosed("The gateway is shutting down.")
            raise ModelNotLoaded(f"{key} is not loaded.")
        entry.protected_until = 0.0
        return entry.group
