"""Every loaded model version, by key: bounded in number, idle ones retired; the package's only door."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from workers.errors import (
    CapacityExceeded,
    InvalidInput,
    ModelError,
    ModelLoadError,
    ModelNotLoaded,
    ModelPinned,
    NotAcceptable,
    PoolClosed,
    PredictionTimeout,
    QueueFull,
    StreamingNotSupported,
    SystemResourcesExhausted,
    UnsupportedMediaType,
    WorkerCrashed,
    WorkerError,
)
from workers.limits import PoolLimits, Preload
from workers.metrics import COUNTER_SPECS, QUEUE_REJECTIONS, Counters, CounterSpec
from workers.pool.loading import ModelLoader
from workers.pool.slots import ModelSlots
from workers.pool.status import MemoryReport, ModelStatus
from workers.prediction_stream import PredictionStream
from workers.process.forkserver import ForkServer
from workers.protocol.messages import (
    ARROW,
    CSV,
    JSON,
    OPEN_INFERENCE,
    PARQUET,
    Batching,
    InputChecks,
    InputProblem,
    Job,
    ModelKey,
    ModelSource,
    Reply,
)
from workers.spawn_health import SpawnHealth
from workers.versions import OTHER, LabelLimiter

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from contextlib import AbstractAsyncContextManager

    from workers.scheduler.worker_group import WorkerGroup

__all__ = [
    "ARROW",
    "COUNTER_SPECS",
    "CSV",
    "JSON",
    "OPEN_INFERENCE",
    "OTHER",
    "PARQUET",
    "QUEUE_REJECTIONS",
    "Batching",
    "CapacityExceeded",
    "CounterSpec",
    "Counters",
    "InputChecks",
    "InputProblem",
    "InvalidInput",
    "Job",
    "LabelLimiter",
    "MemoryReport",
    "ModelError",
    "ModelKey",
    "ModelLoadError",
    "ModelNotLoaded",
    "ModelPinned",
    "ModelSource",
    "ModelStatus",
    "NotAcceptable",
    "Pool",
    "PoolClosed",
    "PoolLimits",
    "PredictionStream",
    "PredictionTimeout",
    "QueueFull",
    "Reply",
    "SpawnHealth",
    "StreamingNotSupported",
    "SystemResourcesExhausted",
    "UnsupportedMediaType",
    "WorkerCrashed",
    "WorkerError",
]

_TIMEOUT_REPLY_SECONDS = 1.0  # for jobs that run out of time as their model is unloaded to be told just that
_RESTART_DELAY_SECONDS = 5.0
_PROBE_TIMEOUT_SECONDS = 60.0  # for a process that does nothing to start and to end
_SPAWN_SHUTDOWN_SECONDS = 10.0  # for the starts that have begun when the pool closes
_SPAWN_THREADS = 4  # threads that wait for the template to fork


class Pool:
    """Warm workers keyed by model name, version and fingerprint. Used from one event loop."""

    def __init__(
        self,
        limits: PoolLimits,
        *,
        environment: Mapping[str, str] | None = None,
        counters: Counters | None = None,
        preload: Preload = "full",
        fork_timeout_seconds: float = 60.0,
    ) -> None:
        """`environment` is all that the workers see of it; None leaves them this process' own.

        `tally` is where what happens is counted.
        """
        self.counters = counters or Counters()
        self._forkserver = ForkServer(environment, preload=preload, fork_timeout_seconds=fork_timeout_seconds)
        self._spawn_executor = ThreadPoolExecutor(_SPAWN_THREADS, thread_name_prefix="worker-start")
        self._slots = ModelSlots(limits, self.counters, forkserver=self._forkserver)
        self._model_loader = ModelLoader(
            limits,
            slots=self._slots,
            forkserver=self._forkserver,
            spawn_executor=self._spawn_executor,
            counters=self.counters,
        )
        self._background_tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Start the template, which goes on importing behind; and the keeping of the limits."""
        self._forkserver.ensure_running()
        self._background_tasks.append(
            asyncio.create_task(_run_forever(self._slots.evict_idle_forever), name="idle models")
        )
        if self._slots.budget.limit is not None:
            work = _run_forever(self._slots.enforce_memory_budget)
            self._background_tasks.append(asyncio.create_task(work, name="memory budget"))

    def set_limits(self, limits: PoolLimits) -> None:
        """Have other limits from now on; a model that is loaded keeps its queue and its times."""
        self._slots.set_limits(limits)
        self._model_loader.set_limits(limits)

    @property
    def has_warm_models(self) -> bool:
        """Whether any model is warm."""
        return any(held.group.worker_count for held in self._slots.loaded.values())

    @property
    def spawn_health(self) -> SpawnHealth:
        """How starting processes for workers fares."""
        return self._forkserver.spawn_health

    async def probe_spawn(self) -> None:
        """Find out whether a worker's process can be started, by one that does nothing; `starts` notes it."""
        trial = asyncio.get_running_loop().run_in_executor(self._spawn_executor, self._forkserver.probe_spawn)
        try:
            await self._wait_or_kill_forkserver(trial, _PROBE_TIMEOUT_SECONDS)
        except (OSError, EOFError):
            self.spawn_health.record(succeeded=False)
        else:
            self.spawn_health.record(succeeded=True)

    async def close(self, *, drain_seconds: float) -> None:
        """Take no more jobs, answer those there are for as long as `drain_seconds`, end every process."""
        self._slots.stop_admitting()
        for task in self._background_tasks:
            task.cancel()
        await asyncio.gather(*self._background_tasks, return_exceptions=True)
        await self._slots.close(drain_seconds=drain_seconds)
        starter = asyncio.create_task(asyncio.to_thread(self._spawn_executor.shutdown, cancel_futures=True))
        await self._wait_or_kill_forkserver(starter, _SPAWN_SHUTDOWN_SECONDS)

    async def _wait_or_kill_forkserver(self, waiting: asyncio.Future[None], seconds: float) -> None:
        """Wait for something that waits for the template, and end the template where that hangs."""
        done, _ = await asyncio.wait([waiting], timeout=seconds)
        if not done:
            self._forkserver.kill()
        await waiting

    def is_loaded(self, key: ModelKey) -> bool:
        """Whether `predict` can be called for `key`."""
        return key in self._slots.loaded

    def status(self, key: ModelKey) -> ModelStatus:
        """How the version is served now."""
        if (held := self._slots.loaded.get(key)) is not None:
            crew = held.group
            merging = crew.load_report.row_batching
            return ModelStatus(
                "warm", crew.worker_count, row_batching=merging, waiting=crew.waiting, running=crew.running
            )
        if key in self._slots.loading:
            return ModelStatus("loading")
        if failed := self._model_loader.recent_failure(key):
            return ModelStatus("failed", reason=str(failed))
        return ModelStatus("cold")

    def statuses(self) -> dict[ModelKey, ModelStatus]:
        """How each version is served that is loaded or being loaded."""
        return {key: self.status(key) for key in (*self._slots.loaded, *self._slots.loading)}

    def memory_report(self) -> MemoryReport:
        """What was taken of the memory when it was last measured."""
        budget = self._slots.budget
        held = self._slots.loaded if budget.limit is not None else {}
        models = {key: one.group.memory_bytes for key, one in held.items()}
        return MemoryReport(budget.limit, budget.base_bytes, models)

    def pin(self, key: ModelKey) -> None:
        """Never retire or evict `key`, once it is loaded."""
        self._slots.pinned.add(key)

    def unpin(self, key: ModelKey) -> None:
        """Let `key` be retired and evicted again."""
        self._slots.pinned.discard(key)

    async def predict(self, key: ModelKey, job: Job) -> Reply:
        """The reply of the version loaded as `key`.

        Raises NotLoaded, QueueFull, OutOfTime, InputRefused, TypeRefused, ModelFailed, WorkerDied,
        PoolClosed.
        """
        return await self._group(key).predict(job)

    async def stream(self, key: ModelKey, job: Job) -> PredictionStream:
        """The same answer in chunks, of which the first is there; the caller closes the stream.

        The model counts as busy until then. Raises StreamRefused, and what `predict` raises.
        """
        return await self._group(key).stream(job)

    def _group(self, key: ModelKey) -> WorkerGroup:
        held = self._slots.loaded.get(key)
        if held is None:
            if self._slots.closed:
                raise PoolClosed("The gateway is shutting down.")
            raise ModelNotLoaded(f"{key} is not loaded.")
        held.protected_until = 0.0
        return held.group

    async def load(self, key: ModelKey, files: AbstractAsyncContextManager[ModelSource]) -> None:
        """Have the version's workers warm; nothing happens where they are. Not for two callers at once.

        `files` is entered once there is room for the model, and left when the model is unloaded.
        Raises LoadFailed (remembered for a while), NoMeans, NoRoom, PoolClosed, and what `files` raises.
        """
        if key in self._slots.loaded:
            return
        await self._model_loader.load(key, files)
        if self._slots.closed:
            self._slots.unload(key, "closing")
            raise PoolClosed("The gateway is shutting down.")

    async def unload(self, *keys: ModelKey) -> None:
        """End the versions' workers once they have answered what they were asked.

        Nothing happens for those that are not loaded. Raises Pinned, and then unloads none of them.
        """
        if pinned := [str(key) for key in keys if key in self._slots.pinned]:
            raise ModelPinned(f"{', '.join(pinned)} is pinned by the gateway's settings and stays loaded.")
        crews = {key: self._slots.loaded[key].group for key in keys if key in self._slots.loaded}
        ending = [
            self._slots.unload(key, "asked", drain_seconds=crew.request_seconds + _TIMEOUT_REPLY_SECONDS)
            for key, crew in crews.items()
        ]
        await asyncio.gather(*map(asyncio.shield, ending))


async def _run_forever(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Work that goes on until cancelled; what goes wrong in it once is told to the loop."""
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - whatever it is, limits are to be kept
            message = f"Models could not be unloaded in time; tried again in {_RESTART_DELAY_SECONDS:g} s."
            asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
            await asyncio.sleep(_RESTART_DELAY_SECONDS)
