"""The engine of one process: files come into the cache of this machine, and models run in its own pool."""

from __future__ import annotations

from contextlib import AsyncExitStack
from time import perf_counter
from typing import TYPE_CHECKING, Final

from gateway.domain.version_tags import BATCHING, INPUT_CHECKS
from gateway.engines.diagnosis import LoadDiagnosis
from gateway.engines.gpu_tag import gpu_share
from workers.errors import ModelLoadError
from workers.metrics import HistogramSpec
from workers.protocol.messages import ModelSource

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.artifacts.cache import ArtifactCache
    from gateway.catalog import Catalog
    from gateway.domain.models import ModelVersion
    from gateway.engines.downloads import DownloadLimiter
    from gateway.engines.engine import Order
    from gateway.engines.node_report import NodeReport
    from gateway.environments.environments import Environments
    from gateway.model_files.version_files import VersionFiles
    from gateway.settings import CurrentSettings
    from workers.pool.loading import Reservation
    from workers.pool.pool import Pool
    from workers.pool.status import DeviceReport, MemoryReport
    from workers.protocol.messages import ModelKey
    from workers.spawn_health import SpawnHealth
    from workers.worker_environment import WorkerEnvironment

MODEL_LOAD_DURATION: Final = HistogramSpec(
    "model_load_duration_seconds",
    "Seconds from the files of a version to its loaded model, by outcome (loaded or failed), once for each"
    " load.",
    ("outcome",),
)


class LocalEngine:
    """An engine that loads models into the worker pool of this process, each in its Python environment."""

    def __init__(
        self,
        catalog: Catalog,
        artifacts: ArtifactCache,
        *,
        files: VersionFiles,
        pool: Pool,
        environments: Environments,
        download_limiter: DownloadLimiter,
        settings: CurrentSettings,
    ) -> None:
        """`artifacts` and `files` must be open while the engine is."""
        self._catalog = catalog
        self._artifacts = artifacts
        self._environments = environments
        self._download_limiter = download_limiter
        self._settings = settings
        self._diagnosis = LoadDiagnosis(files)
        self.pool = pool
        # The pool's own methods, since each request calls one.
        self.predict, self.stream = pool.predict, pool.stream
        self.is_loaded, self.status, self.statuses = pool.is_loaded, pool.status, pool.statuses
        self.failures, self.pin, self.unpin = pool.failures, pool.pin, pool.unpin
        self.unload, self.probe_spawn = pool.unload, pool.probe_spawn
        self.submit, self.watch, self.busy_seconds = pool.submit, pool.watch, pool.busy_seconds
        self.notify_limits_changed = pool.notify_limits_changed
        self.notify_owners_changed = pool.notify_owners_changed
        self.environment, self.find_environment = environments.state, environments.find
        self.environment_states = environments.states
        self.may_have_environment = environments.is_possible

    @property
    def spawn_health(self) -> SpawnHealth:
        """The record of whether worker processes can be started."""
        return self.pool.spawn_health

    @property
    def has_warm_models(self) -> bool:
        """Whether any loaded model has a worker."""
        return self.pool.has_warm_models

    @property
    def running_environments(self) -> frozenset[str]:
        """The digests of the environments that have processes."""
        return self.pool.environments

    @property
    def environments_bytes(self) -> int:
        """The disk that environments take, when last measured."""
        return self._environments.size_bytes

    @property
    def pinned(self) -> frozenset[ModelKey]:
        """The versions that are never evicted."""
        return self.pool.pinned

    async def open(self) -> None:
        """Open the environments and the pool. Raise CacheUnusable."""
        await self._environments.open()
        await self.pool.open()

    async def close(self, *, drain_seconds: float) -> None:
        """Answer the requests that wait or run within `drain_seconds`, and end all workers."""
        await self.pool.close(drain_seconds=drain_seconds)

    async def run(self) -> None:
        """Measure the disk that environments take, until cancelled."""
        await self._environments.measure_forever()

    def memory_report(self) -> MemoryReport:
        """Return the memory that was in use when it was last measured."""
        return self.pool.memory_report()

    def device_reports(self) -> list[DeviceReport]:
        """Return what is known of each GPU that models may have a share of."""
        return self.pool.device_reports()

    def nodes(self) -> tuple[NodeReport, ...]:
        """Return nothing: models run on this machine alone."""
        return ()

    async def load(self, order: Order) -> float:
        """Fetch the files of a version and load it; return the seconds that the fetch took."""
        version, key = order.version, order.version.key
        if self.pool.is_loaded(key):
            return 0.0
        failed_before = self.pool.status(key).state == "failed"
        environment: WorkerEnvironment | None = None
        try:
            async with AsyncExitStack() as held, AsyncExitStack() as download:
                # Before anything is taken that others wait for: a build may take minutes.
                environment = await held.enter_async_context(self._environments.lease(version))
                if not failed_before and not await self._artifacts.has(key):
                    await download.enter_async_context(self._download_limiter.slot())
                return await self._fetch_and_load(
                    order, environment=environment, held=held, download=download
                )
        except ModelLoadError as error:
            if environment is not None:  # with all that the version requires
                raise
            hint = self._diagnosis.cached(key) if failed_before else await self._diagnosis.diagnose(version)
            raise ModelLoadError(f"{error}{hint}", log=error.log) from error

    async def _fetch_and_load(
        self,
        order: Order,
        *,
        environment: WorkerEnvironment | None,
        held: AsyncExitStack,
        download: AsyncExitStack,
    ) -> float:
        """Take a model slot, lease the files, end the `download` slot, and load the model.

        The files stay leased until the model is unloaded, and so does the environment, which is `held`.
        Return the seconds until the files were there.
        """
        version, key = order.version, order.version.key
        async with AsyncExitStack() as files, self.pool.reserve(key, owners=order.owners) as reservation:
            await files.enter_async_context(held.pop_all())
            started = perf_counter()
            lease = self._artifacts.lease(key, lambda: self._catalog.resolve_uri(version))
            directory = await files.enter_async_context(lease)
            seconds = perf_counter() - started
            await download.aclose()
            await self._load_timed(reservation, self._source(version, directory, environment), files=files)
        return seconds

    async def _load_timed(
        self, reservation: Reservation, source: ModelSource, *, files: AsyncExitStack
    ) -> None:
        started, outcome = perf_counter(), "failed"
        try:
            await reservation.load(source, files)
            outcome = "loaded"
        finally:
            self.pool.counters.observe(MODEL_LOAD_DURATION, outcome, value=perf_counter() - started)

    def _source(
        self, version: ModelVersion, directory: Path, environment: WorkerEnvironment | None
    ) -> ModelSource:
        settings = self._settings.value
        for choice in (INPUT_CHECKS, BATCHING):
            choice.log_unknown(version)
        return ModelSource(
            version.key,
            str(directory),
            input_checks=INPUT_CHECKS.of(version, settings.input_checks),
            batching=BATCHING.of(version, settings.batching),
            environment=environment and environment.for_model(str(directory)),
            gpu_share=gpu_share(version.tags),
        )
