"""The environments of model versions: decides which version needs one, builds it once, and leases it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

from gateway.artifacts import disk_errors
from gateway.artifacts.fetch_backoff import FetchBackoff
from gateway.concurrency.threads import in_thread
from gateway.environments import blocks, failures
from gateway.environments.broken import BrokenEnvironments
from gateway.environments.layout import EnvironmentManifest
from gateway.environments.lock import own_requirements
from gateway.environments.progress import BuildProgress
from gateway.environments.state import EnvironmentState
from gateway.errors import EnvironmentRefused, GatewayError, error_kind
from workers.metrics import CounterSpec, HistogramSpec
from workers.worker_environment import WorkerEnvironment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.domain.models import ModelVersion
    from gateway.environments.builder import EnvironmentBuilder
    from gateway.environments.layout import EnvironmentPaths, PartialEnvironment
    from gateway.environments.lock import Lock, LockStore
    from gateway.environments.preparation import EnvironmentPreparer, Prepared
    from gateway.environments.store import EnvironmentStore
    from workers.errors import EnvironmentBroken
    from workers.metrics import Counters
    from workers.protocol.messages import ModelKey

BUILDS: Final = CounterSpec(
    "environment_builds",
    "Builds of environments by outcome: ok, refused (the requirements cannot be installed here), unavailable "
    "(the package index does not answer, or too slowly), cache_full, cache_unusable or failed.",
    ("outcome",),
)
BUILD_DURATION: Final = HistogramSpec(
    "environment_build_duration_seconds",
    "Seconds that builds of environments took, by outcome: ok or failed.",
    ("outcome",),
    bounds=(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)

logger = logging.getLogger(__name__)
_MAX_STATES: Final = 10_000
_REFUSED_SECONDS: Final = 600.0
_RETRY_SECONDS: Final = 5.0
_MEASURE_SECONDS: Final = 300.0
_CACHE: Final = "environments"
_DIR_SETTING: Final = "GATEWAY_ENVIRONMENTS_DIR"


class Environments:
    """The environments of this machine, as the service uses them."""

    def __init__(
        self,
        preparer: EnvironmentPreparer,
        *,
        store: EnvironmentStore,
        builder: EnvironmentBuilder,
        locks: LockStore,
        seconds: float,
        counters: Counters,
    ) -> None:
        """Build for at most `seconds` seconds."""
        self._preparer = preparer
        self._store = store
        self._builder = builder
        self._locks = locks
        self._seconds = seconds
        self._counters = counters
        self._states: LRUCache[ModelKey, EnvironmentState] = LRUCache(_MAX_STATES)
        self._refused: FetchBackoff[ModelKey] = FetchBackoff(_REFUSED_SECONDS)
        self._failed: FetchBackoff[ModelKey] = FetchBackoff(_RETRY_SECONDS)
        self._broken = BrokenEnvironments(_REFUSED_SECONDS)
        self.size_bytes = 0

    @property
    def enabled(self) -> bool:
        """Whether any version may get an environment."""
        return self._preparer.mode != "off"

    def is_possible(self, version: ModelVersion) -> bool:
        """Return whether the version may get an environment, by the settings and its tag alone."""
        return self._preparer.is_possible(version)

    async def open(self) -> None:
        """Create the folder, and remove what killed processes left. Raise CacheUnusable."""
        if self.enabled:
            with disk_errors.translate_os_errors(_CACHE, setting=_DIR_SETTING):
                await self._store.open()

    async def measure_forever(self) -> None:
        """Keep `size_bytes`, the disk that environments take, up to date until cancelled."""
        while True:
            if self.enabled:
                self.size_bytes = await self._store.size_bytes()
            await asyncio.sleep(_MEASURE_SECONDS)

    def state(self, key: ModelKey) -> EnvironmentState | None:
        """Return what is known of the version's environment; None if it was never asked for here."""
        return self._states.get(key)

    def states(self) -> dict[ModelKey, EnvironmentState]:
        """Return what is known of each version's environment, of those that were asked for here."""
        return dict(self._states)

    def on_broken(self, error: EnvironmentBroken) -> None:
        """Note that nothing can run in an environment, for all versions that share it.

        The next lease builds it anew, once; if that does not help, leases raise EnvironmentRefused for a
        while.
        """
        if self._broken.report(error):
            self._store.reject(error.digest)
        for state in self._states.values():
            if state.digest == error.digest:
                state.state, state.reason = "failed", str(error)

    def find(self, name: str, version: str) -> EnvironmentState | None:
        """Return what is known of this version's environment, first of all that it is being built."""
        found = [state for key, state in self._states.items() if key[:2] == (name, version)]
        return min(found, key=lambda state: state.state != "building", default=None)

    @asynccontextmanager
    async def lease(self, version: ModelVersion) -> AsyncIterator[WorkerEnvironment | None]:
        """Yield the version's environment, which is not removed during the block; None is the gateway's own.

        Build it if it is absent. Raise EnvironmentRefused, UpstreamUnavailable, CacheFull, CacheUnusable, and
        what reading the version's files raises.
        """
        if not self.is_possible(version):
            yield None
            return
        async with AsyncExitStack() as stack:
            yield await self._enter(version, stack)

    async def prepare(self, version: ModelVersion) -> Prepared | None:
        """Return what the version's environment is resolved from, or None if the gateway's own will do."""
        return await self._preparer.prepare(version)

    async def kept_lock(self, prepared: Prepared) -> Lock | None:
        """Return the lock if it was resolved before; raise EnvironmentRefused if it is not approved."""
        return await self._locks.find(prepared.lock_name)

    async def lock(self, version: ModelVersion, prepared: Prepared) -> Lock:
        """Return the lock of the version's environment; resolve it if it is not kept."""
        return await self._locks.get(prepared.lock_name, lambda: self.resolve(version, prepared))

    async def resolve(self, version: ModelVersion, prepared: Prepared) -> str:
        """Return the text of the lock of the version's environment, resolved now and not kept."""
        async with self._store.scratch() as scratch:
            return await self._builder.resolve(
                prepared.recipe,
                prepared.interpreter,
                wheels=prepared.wheels.files,
                scratch=scratch,
                model=str(version.key),
            )

    async def is_built(self, prepared: Prepared, lock: Lock) -> bool:
        """Return whether the environment of this lock is on this machine."""
        return await self._store.is_complete(_digest(lock, prepared))

    async def export(self, version: ModelVersion, prepared: Prepared, folder: Path) -> int:
        """Fill `folder` with the wheels of the version's lock, and return how many there are."""
        lock = await self.lock(version, prepared)
        async with self._store.scratch() as scratch:
            return await self._builder.export(lock, prepared.interpreter, folder=folder, scratch=scratch)

    async def _enter(self, version: ModelVersion, stack: AsyncExitStack) -> WorkerEnvironment | None:
        key = version.key
        self._refused.raise_if_active(key)
        self._failed.raise_if_active(key)
        if (known := self._states.get(key)) is not None:
            self._broken.raise_if_broken(known.digest)
        try:
            with disk_errors.translate_os_errors(_CACHE, setting=_DIR_SETTING):
                return await self._enter_with_space(version, stack)
        except GatewayError as error:
            self._states[key] = EnvironmentState("failed", reason=str(error))
            if isinstance(error, EnvironmentRefused):
                self._refused.record(key, error)
            elif not disk_errors.is_transient(error):
                self._failed.record(key, error)
            raise
        except BaseException:
            self._states.pop(key, None)
            raise

    async def _enter_with_space(
        self, version: ModelVersion, stack: AsyncExitStack
    ) -> WorkerEnvironment | None:
        """Enter the lease; on a full disk, once more without the least recently used environment."""
        try:
            return await self._enter_in_time(version, stack)
        except OSError as error:
            if not disk_errors.is_disk_full(error) or not await self._store.free_space():
                raise
        return await self._enter_in_time(version, stack)

    async def _enter_in_time(self, version: ModelVersion, stack: AsyncExitStack) -> WorkerEnvironment | None:
        try:
            async with asyncio.timeout(self._seconds):
                return await self._enter_once(version, stack)
        except TimeoutError as error:
            raise failures.timed_out(self._seconds) from error

    async def _enter_once(self, version: ModelVersion, stack: AsyncExitStack) -> WorkerEnvironment | None:
        await self._store.ensure_exists()
        prepared = await self.prepare(version)
        if prepared is None:
            self._states[version.key] = EnvironmentState("shared")
            return None
        progress = BuildProgress(str(version.key))
        minor = prepared.interpreter.minor
        self._states[version.key] = EnvironmentState("building", python=minor, progress=progress)
        lock = await self.lock(version, prepared)
        digest = _digest(lock, prepared)
        self._broken.raise_if_broken(digest)

        async def build(partial: PartialEnvironment) -> EnvironmentManifest:
            return await self._build_counted(lock, prepared, partial, digest=digest, progress=progress)

        leased = self._store.lease(digest, build, longest=2 * self._seconds)
        paths: EnvironmentPaths = await stack.enter_async_context(leased)
        self._states[version.key] = EnvironmentState("ready", digest, minor)
        return WorkerEnvironment(digest, str(paths.python), private=bool(prepared.wheels.files))

    async def _build_counted(
        self,
        lock: Lock,
        prepared: Prepared,
        partial: PartialEnvironment,
        *,
        digest: str,
        progress: BuildProgress,
    ) -> EnvironmentManifest:
        started = perf_counter()
        progress.begin(len(lock.packages))
        try:
            await self._builder.build(lock, prepared.interpreter, partial, progress=progress)
            files = await in_thread(blocks.fingerprint, partial.root)
        except Exception as error:
            outcome = "cache_full" if isinstance(error, OSError) else error_kind(error)
            self._counters.increment(BUILDS, outcome)
            self._counters.observe(BUILD_DURATION, "failed", value=perf_counter() - started)
            raise
        seconds = perf_counter() - started
        self._broken.note_built(digest)
        self._counters.increment(BUILDS, "ok")
        self._counters.observe(BUILD_DURATION, "ok", value=seconds)
        logger.info(
            "Built the environment of %s: %d packages in %.1f s",
            progress.model,
            progress.total,
            seconds,
            extra={
                "event": "environment_built",
                "model": progress.model,
                "environment": digest,
                "packages": progress.total,
                "seconds": seconds,
            },
        )
        return EnvironmentManifest(
            digest, prepared.interpreter.minor, lock.packages, tuple(files), progress.model
        )


def _digest(lock: Lock, prepared: Prepared) -> str:
    return lock.digest(prepared.interpreter, own_requirements(prepared.interpreter))
