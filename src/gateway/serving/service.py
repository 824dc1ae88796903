"""The story of a prediction: resolve, fetch, load, predict; knows no HTTP."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeVar

from gateway.serving.admission import LoadWaitLimit
from gateway.serving.diagnosis import LoadDiagnosis
from gateway.serving.rollover import VersionRollover
from workers.errors import ModelLoadError, ModelNotLoaded
from workers.prediction_stream import PredictionStream
from workers.protocol.messages import Batching, InputChecks, ModelSource, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from gateway.artifacts.cache import ArtifactCache
    from gateway.catalog import Catalog
    from gateway.concurrency.singleflight import SingleFlight
    from gateway.domain.models import ModelVersion, Resolution
    from gateway.domain.refs import ModelRef
    from gateway.serving.admission import DownloadLimiter
    from workers.pool.pool import Pool
    from workers.protocol.messages import Job, ModelKey

Result = TypeVar("Result", Reply, PredictionStream)
Choice = TypeVar("Choice", bound=str)

resolved_model: Final[ContextVar[ModelKey | None]] = ContextVar("resolved_model", default=None)
"""Which version the request of this context was resolved to, for whoever counts requests."""

logger = logging.getLogger(__name__)

_INPUT_CHECKS_TAG = "gateway.input_checks"
_INPUT_CHECKS: dict[str, InputChecks] = {"strict": "strict", "mlflow": "mlflow"}
_BATCHING_TAG = "gateway.batching"
_BATCHING: dict[str, Batching] = {"auto": "auto", "on": "on", "off": "off"}
_MAX_LOADS = 3  # a model that is unloaded again as often before it is asked finds no room here


@dataclass(slots=True)
class Timing:
    """Seconds spent on each leg of one request."""

    resolve: float = 0.0
    download: float = 0.0
    load: float = 0.0
    queue: float = 0.0
    predict: float = 0.0


@dataclass(slots=True)
class Prediction:
    """A reply, and which version gave it."""

    resolution: Resolution
    reply: Reply
    timing: Timing


@dataclass(frozen=True, slots=True)
class StreamingResult:
    """A reply in chunks, of which the first is there, and which version gives it."""

    resolution: Resolution
    chunks: PredictionStream
    timing: Timing


class PredictionService:
    """Predicts with any version that the catalog can name."""

    def __init__(
        self,
        catalog: Catalog,
        artifacts: ArtifactCache,
        *,
        pool: Pool,
        single_flight: SingleFlight[ModelKey],
        download_limiter: DownloadLimiter,
        max_queue: int,
        input_checks: InputChecks = "strict",
        batching: Batching = "auto",
    ) -> None:
        """`arrivals` bounds who takes a place and waits for files; `max_queue` may wait for a version's load.

        `input_checks` and `batching` hold for versions that have no such tags of their own.
        """
        self._catalog = catalog
        self._artifacts = artifacts
        self._pool = pool
        self._diagnosis = LoadDiagnosis(catalog, artifacts)
        self._single_flight = single_flight
        self._download_limiter = download_limiter
        self._load_wait_limit = LoadWaitLimit(max_queue, counters=pool.counters)
        self._input_checks = input_checks
        self._batching = batching
        self._rollover = VersionRollover(catalog, pool=pool, ensure_loaded=self.ensure_loaded)

    async def close(self) -> None:
        """End what is being brought up behind the requests."""
        await self._rollover.close()

    def change(self, *, max_queue: int, input_checks: InputChecks, batching: Batching) -> None:
        """Have other choices for versions that are loaded from now on."""
        self._load_wait_limit.limit = max_queue
        self._input_checks = input_checks
        self._batching = batching

    async def predict(self, ref: ModelRef, job: Job) -> Prediction:
        """The reply of the version that `ref` means now.

        Raises any GatewayError or WorkerError. Resolving, fetching and loading have limits of their
        own; the request's deadline counts from the moment the model is warm.
        """
        timing = Timing()
        resolution = await self._resolve(ref, timing)
        reply = await self._predict_or_load(self._pool.predict, resolution.version, job=job, timing=timing)
        return Prediction(resolution, reply, timing)

    @asynccontextmanager
    async def stream(self, ref: ModelRef, job: Job) -> AsyncIterator[StreamingResult]:
        """The same in chunks; to leave it ends the stream. Raises as `predict` does, and StreamRefused."""
        timing = Timing()
        resolution = await self._resolve(ref, timing)
        chunks = await self._predict_or_load(self._pool.stream, resolution.version, job=job, timing=timing)
        try:
            yield StreamingResult(resolution, chunks, timing)
        finally:
            chunks.close()

    async def ensure_loaded(self, version: ModelVersion) -> Timing:
        """Have the version's files here and its workers warm; one download and one load for N askers."""
        return await self._single_flight.do(version.key, lambda: self._load(version))

    async def _resolve(self, ref: ModelRef, timing: Timing) -> Resolution:
        started = perf_counter()
        known = self._catalog.resolve_cached(ref) or await self._catalog.resolve(ref)
        resolution = self._rollover.select(ref, known)
        resolved_model.set(resolution.version.key)
        timing.resolve = perf_counter() - started
        return resolution

    async def _predict_or_load(
        self,
        make: Callable[[ModelKey, Job], Awaitable[Result]],
        version: ModelVersion,
        *,
        job: Job,
        timing: Timing,
    ) -> Result:
        for loads_left in range(_MAX_LOADS, -1, -1):
            started = perf_counter()
            try:
                made = await make(version.key, job)
            except ModelNotLoaded:
                if not loads_left:
                    break
                with self._load_wait_limit.slot(version.key):
                    legs = await self.ensure_loaded(version)
                timing.download, timing.load = legs.download, legs.load
                continue  # it is loaded now, where no other model took its place in this very moment
            timing.predict = made.seconds
            timing.queue = perf_counter() - started - made.seconds
            return made
        raise ModelNotLoaded(
            "The model was unloaded again before it could answer: too few may be loaded at once."
        )

    async def _load(self, version: ModelVersion) -> Timing:
        timing = Timing()
        started = perf_counter()
        failed_before = self._pool.status(version.key).state == "failed"
        async with AsyncExitStack() as arriving:
            if not (failed_before or await self._artifacts.has(version.key)):
                await arriving.enter_async_context(self._download_limiter.slot())
            try:
                await self._pool.load(
                    version.key, self._lease_files(version, timing, arrived=arriving.aclose)
                )
            except ModelLoadError as error:
                known = self._diagnosis.cached(version.key)
                remedy = known if failed_before else await self._diagnosis.diagnose(version)
                raise ModelLoadError(f"{error}{remedy}", log=error.log) from error
        timing.load = perf_counter() - started - timing.download
        return timing

    @asynccontextmanager
    async def _lease_files(
        self, version: ModelVersion, timing: Timing, *, arrived: Callable[[], Awaitable[None]]
    ) -> AsyncIterator[ModelSource]:
        """The version's files, told as they arrive; the pool holds them as long as the model is loaded."""
        started = perf_counter()
        async with self._artifacts.lease(version.key, lambda: self._catalog.resolve_uri(version)) as folder:
            timing.download = perf_counter() - started
            await arrived()
            yield ModelSource(
                version.key,
                str(folder),
                input_checks=_tag_or_default(
                    version, _INPUT_CHECKS_TAG, choices=_INPUT_CHECKS, default=self._input_checks
                ),
                batching=_tag_or_default(version, _BATCHING_TAG, choices=_BATCHING, default=self._batching),
            )


def _tag_or_default(
    version: ModelVersion, tag: str, *, choices: Mapping[str, Choice], default: Choice
) -> Choice:
    """What the version's tag chooses, else `default`; a choice that is not known is told in the log."""
    wish = version.tags.get(tag)
    if wish is not None and wish not in choices:
        logger.warning(
            "%s has the tag %s=%r, which is none of %s", version.key, tag, wish, ", ".join(choices)
        )
    return choices.get(wish or "", default)
