"""Has models loaded in the places there are: a few at once; those that failed are not tried for a while."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from workers.errors import CapacityExceeded, ModelLoadError
from workers.metrics import MODEL_LOADS
from workers.pool.slots import LoadedEntry
from workers.scheduler.worker_group import WorkerGroup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from concurrent.futures import Executor
    from contextlib import AbstractAsyncContextManager

    from workers.limits import PoolLimits
    from workers.metrics import Counters
    from workers.pool.slots import ModelSlots
    from workers.process.forkserver import ForkServer
    from workers.protocol.messages import ModelKey, ModelSource


class StaggeredLimiter:
    """Lets `most` begin at once; the next begins when one is done, or after `seconds` in any case.

    A storm of loads on a few cores would end none of them sooner, take all places for models at once, and
    delay the workers that take the place of dead ones, which wait for no turn.
    """

    def __init__(self, limit: int, *, seconds: float) -> None:
        self._semaphore = asyncio.Semaphore(limit)
        self._seconds = seconds

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a turn; it is over when the context is left, or its time is."""
        await self._semaphore.acquire()
        turn = _Slot(self._semaphore)
        over = asyncio.get_running_loop().call_later(self._seconds, turn.release)
        try:
            yield
        finally:
            over.cancel()
            turn.release()


class _Slot:
    def __init__(self, semaphore: asyncio.Semaphore) -> None:
        self._semaphore: asyncio.Semaphore | None = semaphore

    def release(self) -> None:
        """Let the next begin, once."""
        if self._semaphore is not None:
            self._semaphore.release()
            self._semaphore = None


_INITIAL_DELAY_SECONDS = 5.0
_MAX_DELAY_SECONDS = 300.0
_MAX_ENTRIES = 1_000


@dataclass(frozen=True, slots=True)
class _FailedLoad:
    error: ModelLoadError
    delay: float
    retry_at: float


class LoadBackoff:
    """A growing pause per model version: 5 s after the first failure, doubled each time, at most 300 s."""

    def __init__(self) -> None:
        self._failures: OrderedDict[ModelKey, _FailedLoad] = OrderedDict()

    def record(self, key: ModelKey, error: ModelLoadError) -> None:
        """Note a failed load: what it says, not the error, whose frames hold the worker and its pipes."""
        error = ModelLoadError(str(error), log=error.log)
        before = self._failures.pop(key, None)
        pause = _INITIAL_DELAY_SECONDS if before is None else min(_MAX_DELAY_SECONDS, before.delay * 2)
        self._failures[key] = _FailedLoad(error, pause, asyncio.get_running_loop().time() + pause)
        if len(self._failures) > _MAX_ENTRIES:
            self._failures.popitem(last=False)

    def clear(self, key: ModelKey) -> None:
        """Note that the model could be loaded."""
        self._failures.pop(key, None)

    def active(self, key: ModelKey) -> ModelLoadError | None:
        """The last load's failure while its pause lasts."""
        failed = self._failures.get(key)
        if failed is None or failed.retry_at <= asyncio.get_running_loop().time():
            return None
        return failed.error


logger = logging.getLogger(__name__)

_PROTECTED_SECONDS: Final = 1.0
_MAX_ATTEMPTS: Final = 3  # to load a model that others take the memory of
_LOAD_STAGGER_SECONDS: Final = 1.0  # of a load, until the next one may begin beside it


class ModelLoader:
    """Loads models, and remembers for a while why one could not be, or lost its last worker."""

    def __init__(
        self,
        limits: PoolLimits,
        *,
        slots: ModelSlots,
        forkserver: ForkServer,
        spawn_executor: Executor,
        counters: Counters,
    ) -> None:
        """`starter` has the threads that wait for the template to fork."""
        self._limits = limits
        self._slots = slots
        self._forkserver = forkserver
        self._spawn_executor = spawn_executor
        self._counters = counters
        self._load_limiter = StaggeredLimiter(limits.max_concurrent_loads, seconds=_LOAD_STAGGER_SECONDS)
        self._load_backoff = LoadBackoff()

    def set_limits(self, limits: PoolLimits) -> None:
        """Have other limits for the models that are loaded from now on."""
        self._limits = limits

    def recent_failure(self, key: ModelKey) -> ModelLoadError | None:
        """Why a model cannot be loaded, as long as it is not tried again."""
        return self._load_backoff.active(key)

    async def load(self, key: ModelKey, files: AbstractAsyncContextManager[ModelSource]) -> None:
        """Have the model held in a place of its own.

        `files` is entered once there is room for the model, and left when the model is unloaded.
        Raises LoadFailed (remembered for a while), NoMeans, NoRoom, PoolClosed, and what `files` raises.
        """
        if failed := self.recent_failure(key):
            raise ModelLoadError(str(failed))
        try:
            await self._load(key, files)
        except ModelLoadError as error:
            self._counters.increment(MODEL_LOADS, key.name, key.version, "failed")
            self._load_backoff.record(key, error)
            logger.error("%s could not be loaded: %s\n%s", key, error, error.log)
            raise
        self._counters.increment(MODEL_LOADS, key.name, key.version, "loaded")
        self._load_backoff.clear(key)

    async def _load(self, key: ModelKey, files: AbstractAsyncContextManager[ModelSource]) -> None:
        places, loop = self._slots, asyncio.get_running_loop()
        source: ModelSource | None = None
        async with AsyncExitStack() as stack:
            for _ in range(_MAX_ATTEMPTS):
                async with self._load_limiter.slot():
                    await places.reserve(key)
                    try:
                        if source is None:
                            source = await stack.enter_async_context(files)
                        if (crew := await self._start_group(source)) is not None:
                            awaited_until = loop.time() + _PROTECTED_SECONDS
                            loop.call_at(awaited_until, places.changed.set)
                            places.commit(key, LoadedEntry(crew, stack.pop_all(), awaited_until))
                            return
                    finally:
                        places.release(key)
        raise CapacityExceeded("The memory for models is taken by others again and again.")

    async def _start_group(self, source: ModelSource) -> WorkerGroup | None:
        """A crew with the model loaded; None where it gave its memory back to others."""
        crew = WorkerGroup(
            source,
            self._limits,
            forkserver=self._forkserver,
            spawn_executor=self._spawn_executor,
            on_failed=self._on_group_failed,
            on_idle=self._slots.changed.set,
            counters=self._counters,
        )
        self._slots.attach(source.key, crew)
        await crew.start()
        settled = False
        try:
            settled = await self._slots.fit_memory(source.key, crew)
            if crew.failure is not None:
                settled = False
                raise crew.failure
        finally:
            if not settled:
                await crew.close(drain_seconds=0.0)
        return crew if settled else None

    def _on_group_failed(self, crew: WorkerGroup, error: ModelLoadError) -> None:
        """No worker can be had for a model any more: the next request for it loads it anew, in time."""
        key = crew.source.key
        held = self._slots.loaded.get(key)
        if held is not None and held.group is crew:
            logger.error("%s lost its last worker: %s\n%s", key, error, error.log)
            self._load_backoff.record(key, error)
            self._slots.unload(key, "lost")
