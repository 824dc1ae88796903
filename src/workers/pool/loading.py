"""Loads models in two phases: reserve a slot, then load the files that the caller fetched meanwhile."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from workers.errors import CapacityExceeded, EnvironmentBroken, ModelLoadError, PoolClosed
from workers.metrics import MODEL_LOADS
from workers.pool.slots import LoadedEntry
from workers.pool.staggered_limiter import StaggeredLimiter
from workers.scheduler.worker_group import WorkerGroup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
    from concurrent.futures import Executor

    from workers.answer_memory import AnswerLimits
    from workers.limits import PoolLimits
    from workers.metrics import Counters
    from workers.pool.allocation import SlotAllocator
    from workers.pool.device_allocation import DeviceAllocator
    from workers.pool.environment_allocation import EnvironmentAllocator
    from workers.pool.load_backoff import LoadBackoff
    from workers.pool.slots import ModelSlots
    from workers.process.forkserver import ForkServer
    from workers.protocol.messages import ModelKey, ModelSource

logger = logging.getLogger(__name__)

_PROTECTED_SECONDS: Final = 1.0  # within which the requests that waited for a load arrive
_MAX_ATTEMPTS: Final = 3  # to load a model whose memory others need first
_LOAD_STAGGER_SECONDS: Final = 1.0  # until the next load may start beside a long one


class Reservation:
    """A slot for one model version, held while its files are fetched and its workers load."""

    def __init__(self, load: Callable[[ModelSource, AsyncExitStack], Awaitable[None]]) -> None:
        self._load = load

    async def load(self, source: ModelSource, files: AsyncExitStack) -> None:
        """Load the version from `source`; it takes requests when this returns.

        On success `files` is emptied, and what it held is closed when the version is unloaded. On failure
        `files` stays as it is. Raise ModelLoadError, SystemResourcesExhausted, CapacityExceeded or
        PoolClosed.
        """
        await self._load(source, files)


class ModelLoader:
    """A loader that starts a model's workers in a reserved slot, and remembers failed loads for a while."""

    def __init__(
        self,
        limits: Callable[[], PoolLimits],
        slots: ModelSlots,
        *,
        allocator: SlotAllocator,
        devices: DeviceAllocator,
        environments: EnvironmentAllocator,
        forkserver: ForkServer,
        spawn_executor: Executor,
        counters: Counters,
        backoff: LoadBackoff,
        answers: AnswerLimits,
        on_environment_broken: Callable[[EnvironmentBroken], None],
    ) -> None:
        """`forkserver` is that of the gateway's own environment; threads of `spawn_executor` wait for it."""
        self._limits = limits
        self._slots = slots
        self._allocator = allocator
        self._devices = devices
        self._environments = environments
        self._forkserver = forkserver
        self._spawn_executor = spawn_executor
        self._counters = counters
        self._backoff = backoff
        self._answers = answers
        self._on_environment_broken = on_environment_broken
        self._load_limiter = StaggeredLimiter(limits().max_concurrent_loads, seconds=_LOAD_STAGGER_SECONDS)

    @asynccontextmanager
    async def reserve(
        self, key: ModelKey, *, owners: Collection[str | None] = ()
    ) -> AsyncIterator[Reservation]:
        """Wait for a slot for a version; the slot is free again if the context ends before a load.

        Raise what `SlotAllocator.allocate` raises, and ModelLoadError while a failed load is remembered.
        """
        if (failure := self._backoff.active(key)) is not None:
            raise ModelLoadError(str(failure))
        async with AsyncExitStack() as held:
            with self._recording_failure(key):
                await held.enter_async_context(self._slot(key, owners))
            yield Reservation(partial(self._load, held, owners))

    async def _load(
        self,
        held: AsyncExitStack,
        owners: Collection[str | None],
        source: ModelSource,
        files: AsyncExitStack,
    ) -> None:
        """Load a version in the slot that `held` releases when it closes."""
        key = source.key
        with self._recording_failure(key):
            for attempt in range(_MAX_ATTEMPTS):
                if attempt:  # others need the memory first: wait again
                    await held.aclose()
                    await held.enter_async_context(self._slot(key, owners))
                async with AsyncExitStack() as stack:
                    placed = await self._devices.claim(source, stack)
                    if (group := await self._start_group(placed, stack)) is not None:
                        kept = files.pop_all()
                        kept.push_async_callback(stack.pop_all().aclose)
                        self._commit(key, group, files=kept)
                        await held.aclose()
                        return
        raise CapacityExceeded("Other models took the memory each time that this model was loaded.")

    @contextmanager
    def _recording_failure(self, key: ModelKey) -> Iterator[None]:
        """Count, log and remember a ModelLoadError that the block raises."""
        try:
            yield
        except ModelLoadError as error:
            self._counters.increment(MODEL_LOADS, key.name, key.version, "failed")
            self._log_failure("Model %s could not be loaded: %s\n%s", key, error, event="model_load_failed")
            raise

    @asynccontextmanager
    async def _slot(self, key: ModelKey, owners: Collection[str | None]) -> AsyncIterator[None]:
        async with self._load_limiter.slot():
            await self._allocator.allocate(key, owners)
            try:
                yield
            finally:
                self._allocator.release(key)

    async def _start_group(self, source: ModelSource, stack: AsyncExitStack) -> WorkerGroup | None:
        """Return a group that has the model loaded, or None if others need its memory first.

        The use of its environment's fork server is given back when `stack` closes.
        """
        forkserver, spawn_executor = self._forkserver, self._spawn_executor
        if source.environment is not None:
            lease = await self._environments.lease(source.key, source.environment)
            stack.callback(lease.release)
            forkserver, spawn_executor = lease.forkserver, lease.executor
        group = WorkerGroup(
            source,
            self._limits(),
            forkserver=forkserver,
            spawn_executor=spawn_executor,
            on_failed=self._on_group_failed,
            on_idle=self._slots.changed.set,
            counters=self._counters,
            answers=self._answers,
        )
        self._slots.attach(source.key, group)
        await group.start()
        fits = False
        try:
            fits = await self._allocator.fit_memory(source.key, group)
            if group.failure is not None:
                fits = False
                raise group.failure
        finally:
            if not fits:
                await group.close(drain_seconds=0.0)
        return group if fits else None

    def _commit(self, key: ModelKey, group: WorkerGroup, *, files: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        protected_until = loop.time() + _PROTECTED_SECONDS
        loop.call_at(protected_until, self._slots.changed.set)
        self._slots.commit(key, LoadedEntry(group, files, protected_until))
        self._counters.increment(MODEL_LOADS, key.name, key.version, "loaded")
        self._backoff.clear(key)
        if self._slots.closed:
            self._slots.unload(key, "shutdown")
            raise PoolClosed("The gateway is shutting down.")

    def _on_group_failed(self, group: WorkerGroup, error: ModelLoadError) -> None:
        """Unload a version whose workers cannot be replaced; a later request loads it again."""
        key = group.source.key
        entry = self._slots.loaded.get(key)
        if entry is not None and entry.group is group:
            self._log_failure(
                "Model %s lost its last worker: %s\n%s", key, error, event="model_lost_last_worker"
            )
            self._slots.unload(key, "failed")

    def _log_failure(self, message: str, key: ModelKey, error: ModelLoadError, *, event: str) -> None:
        if isinstance(error, EnvironmentBroken):
            self._on_environment_broken(error)
        pause = self._backoff.record(key, error)
        extra = {"event": event, "model": str(key), "reason": str(error), "retry_in_seconds": pause}
        logger.error(message, key, error, error.log, extra=extra)
