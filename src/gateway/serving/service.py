"""Serves a prediction: resolves the reference, fetches the files, loads the model, predicts. No HTTP here."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeVar

from gateway.auth.errors import LimitExceeded
from gateway.auth.limits.loads import UNCOUNTED, PrincipalLoads, owner_of_loads
from gateway.auth.principal import current_principal
from gateway.engines.engine import Order
from gateway.engines.fleet.metrics import NODE_RETRIES
from gateway.serving.admission import LoadWaitLimit
from gateway.serving.phases import PhaseTimes
from gateway.serving.rollover import VersionRollover
from workers.errors import ModelNotLoaded, NodeLost, WorkerCrashed
from workers.prediction_stream import PredictionStream
from workers.protocol.messages import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from gateway.auth.limits.loads import LoadSlot
    from gateway.catalog import Catalog
    from gateway.concurrency.singleflight import SingleFlight
    from gateway.domain.models import ModelVersion, Resolution
    from gateway.domain.refs import ModelRef
    from gateway.engines.engine import Engine
    from gateway.settings import CurrentSettings
    from workers.metrics import Counters
    from workers.protocol.messages import Job, ModelKey

Result = TypeVar("Result", Reply, PredictionStream)

resolved_model: Final[ContextVar[ModelKey | None]] = ContextVar("resolved_model", default=None)
"""The version that the current request resolved to; the request metrics read it."""

_MAX_OWNERS: Final = 100  # of one load, that are asked whose share it is within
_BUILD_CHECK_SECONDS: Final = 5.0
_MAX_LOADS: Final = 3  # for one request whose model is unloaded again each time before it can answer


@dataclass(slots=True)
class Timing:
    """Seconds spent in each phase of one request."""

    resolve: float = 0.0
    download: float = 0.0
    load: float = 0.0
    queue: float = 0.0
    predict: float = 0.0


@dataclass(slots=True)
class Prediction:
    """A reply, the version that gave it, and the time it took."""

    resolution: Resolution
    reply: Reply
    timing: Timing


@dataclass(frozen=True, slots=True)
class StreamingResult:
    """A reply in chunks, of which the first has been computed, and the version that gives it."""

    resolution: Resolution
    chunks: PredictionStream
    timing: Timing


class PredictionService:
    """A service that predicts with any version that the catalog can resolve."""

    def __init__(
        self,
        catalog: Catalog,
        engine: Engine,
        *,
        single_flight: SingleFlight[ModelKey],
        settings: CurrentSettings,
        counters: Counters,
    ) -> None:
        self._catalog = catalog
        self._engine = engine
        self._single_flight = single_flight
        self._settings = settings
        self._counters = counters
        self._phases = PhaseTimes(counters)
        self._load_wait_limit = LoadWaitLimit(settings, counters=counters)
        self._principal_loads = PrincipalLoads(settings, counters=counters)
        self._owners: dict[ModelKey, dict[str | None, None]] = {}  # who waits for the loads that run
        self._rollover = VersionRollover(
            catalog, engine=engine, ensure_loaded=self.ensure_loaded, counters=counters
        )

    async def close(self) -> None:
        """Cancel the loads of new versions that run in the background."""
        await self._rollover.close()

    async def predict(self, ref: ModelRef, job: Job) -> Prediction:
        """Return the reply of the version that `ref` resolves to.

        Raise any GatewayError or WorkerError. Resolving, fetching and loading have time limits of their
        own; the request's deadline counts from the moment the model is loaded.
        """
        started = perf_counter()
        current = self._catalog.resolve_cached(ref) or await self._catalog.resolve(ref)
        resolution = self._rollover.select(ref, current)
        version = resolution.version
        resolved_model.set(version.key)
        resolved = perf_counter()
        timing = Timing(resolved - started)
        try:
            reply = await self._engine.predict(version.key, job)
        except ModelNotLoaded as error:
            reply = await self._load_and(self._engine.predict, version, job=job, timing=timing, why=error)
        else:
            timing.predict = seconds = reply.seconds
            timing.queue = queue = perf_counter() - resolved - seconds
            self._phases.record(version.key, resolve=timing.resolve, queue=queue, predict=seconds)
        return Prediction(resolution, reply, timing)

    @asynccontextmanager
    async def stream(self, ref: ModelRef, job: Job) -> AsyncIterator[StreamingResult]:
        """Return the reply in chunks; leaving the context ends the stream.

        Raise StreamingNotSupported, and what `predict` raises.
        """
        started = perf_counter()  # the same steps as in `predict`, which would pay for a shared coroutine
        current = self._catalog.resolve_cached(ref) or await self._catalog.resolve(ref)
        resolution = self._rollover.select(ref, current)
        version = resolution.version
        resolved_model.set(version.key)
        resolved = perf_counter()
        timing = Timing(resolved - started)
        try:
            chunks = await self._engine.stream(version.key, job)
        except ModelNotLoaded as error:
            chunks = await self._load_and(self._engine.stream, version, job=job, timing=timing, why=error)
        else:
            self._measure(version.key, timing, called=resolved, predict=chunks.seconds)
        try:
            yield StreamingResult(resolution, chunks, timing)
        finally:
            chunks.close()

    async def ensure_loaded(self, version: ModelVersion) -> Timing:
        """Fetch and load a version unless it is loaded; concurrent callers share one download and load.

        The load counts for the principal of the request that causes it. Raise LimitExceeded if that one has
        too many loads, and any GatewayError or WorkerError.
        """
        key, principal, slot = version.key, current_principal.get(), UNCOUNTED
        owner = owner_of_loads(principal)
        if not self._is_on_its_way(key):
            try:
                slot = await self._principal_loads.take(principal)
            except LimitExceeded:
                if not self._is_on_its_way(key):
                    raise
        if self._single_flight.is_running(key):
            slot.release()
            self._join(key, owner)
        return await self._single_flight.do(key, lambda: self._load_for(owner, version, slot=slot))

    def _is_on_its_way(self, key: ModelKey) -> bool:
        return self._single_flight.is_running(key) or self._engine.is_loaded(key)

    def _join(self, key: ModelKey, owner: str | None) -> None:
        """Note that one more owner waits for a load: its share may allow what that of the first does not."""
        owners = self._owners.setdefault(key, {})
        if owner not in owners and len(owners) < _MAX_OWNERS:
            owners[owner] = None
            self._engine.notify_owners_changed()

    def _measure(self, key: ModelKey, timing: Timing, *, called: float, predict: float) -> None:
        """Record the phases of a reply to a call that began at `called` and took `predict` in the worker."""
        timing.predict = predict
        timing.queue = queue = perf_counter() - called - predict
        waited = timing.download + timing.load
        self._phases.record(key, resolve=timing.resolve, queue=queue, predict=predict, waited=waited)

    async def _load_and(
        self,
        predict: Callable[[ModelKey, Job], Awaitable[Result]],
        version: ModelVersion,
        *,
        job: Job,
        timing: Timing,
        why: ModelNotLoaded,
    ) -> Result:
        """Call `predict` after loading the version, which no worker has loaded.

        `why` is what the call before raised. After NodeLost the request may have run already: it runs once
        more, and if that node is lost as well, raise WorkerCrashed.
        """
        self._count_retry(why)
        for _ in range(_MAX_LOADS):
            with self._load_wait_limit.slot(version.key):
                load = await self._ensure_loaded_in_time(version)
            timing.download, timing.load = load.download, load.load
            self._phases.record_load(version.key, download=load.download, load=load.load)
            called = perf_counter()
            try:
                result = await predict(version.key, job)
            except NodeLost as error:
                if isinstance(why, NodeLost):
                    raise WorkerCrashed(
                        "The nodes that ran the request were lost, one after the other."
                    ) from error
                why = error
                self._count_retry(error)
                continue
            except ModelNotLoaded:
                continue  # another model has taken its slot already
            self._measure(version.key, timing, called=called, predict=result.seconds)
            return result
        raise ModelNotLoaded(
            "The model was unloaded again before it could answer: too few may be loaded at once."
        )

    def _count_retry(self, why: ModelNotLoaded) -> None:
        if isinstance(why, NodeLost):
            self._counters.increment(NODE_RETRIES)

    async def _ensure_loaded_in_time(self, version: ModelVersion) -> Timing:
        """Load the version for a request, which waits for the build of an environment no longer than for
        a prediction. Raise EnvironmentUnfinished then; the build goes on.
        """
        if not self._engine.may_have_environment(version):
            return await self.ensure_loaded(version)
        load = asyncio.create_task(self.ensure_loaded(version), name=f"wait for {version.key}")
        try:
            limit = self._settings.value.request_timeout_seconds
            while not (await asyncio.wait([load], timeout=limit))[0]:
                self._raise_if_building(version.key)
                limit = _BUILD_CHECK_SECONDS
            return load.result()
        finally:
            load.cancel()

    def _raise_if_building(self, key: ModelKey) -> None:
        environment = self._engine.environment(key)
        if environment is not None:
            environment.raise_if_building()

    async def _load_for(self, owner: str | None, version: ModelVersion, *, slot: LoadSlot) -> Timing:
        self._owners.setdefault(version.key, {})[owner] = None
        try:
            return await self._load(version)
        finally:
            del self._owners[version.key]
            slot.release()

    async def _load(self, version: ModelVersion) -> Timing:
        timing, started = Timing(), perf_counter()
        if self._engine.is_loaded(version.key):
            return timing
        owners = self._owners[version.key].keys()  # those that come later are in it too
        timing.download = await self._engine.load(Order(version, owners))
        timing.load = perf_counter() - started - timing.download
        return timing
