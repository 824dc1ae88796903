"""The story of a prediction: resolve, fetch, load, predict; knows no HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from workers.pool import ModelSource

if TYPE_CHECKING:
    from gateway.artifacts.cache import ArtifactCache
    from gateway.catalog import Catalog
    from gateway.models import ModelVersion, Resolution
    from gateway.once import Once
    from gateway.refs import ModelRef
    from workers.pool import Job, ModelKey, Pool, Reply


@dataclass(slots=True)
class Timing:
    """Seconds spent on each leg of one request."""

    resolve: float = 0.0
    download: float = 0.0
    load: float = 0.0
    queue: float = 0.0
    predict: float = 0.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """A reply, and which version gave it."""

    resolution: Resolution
    reply: Reply
    timing: Timing


class Serving:
    """Predicts with any version that the catalog can name."""

    def __init__(self, catalog: Catalog, artifacts: ArtifactCache, *, pool: Pool, once: Once[ModelKey, Timing]) -> None:
        self._catalog = catalog
        self._artifacts = artifacts
        self._pool = pool
        self._once = once

    async def predict(self, ref: ModelRef, job: Job) -> Prediction:
        """The reply of the version that `ref` means now.

        Raises any GatewayError or WorkerError. Time to resolve, download and load has limits of
        its own; the request's deadline counts from the moment the model is warm.
        """
        timing = Timing()
        started = perf_counter()
        resolution = await self._catalog.resolve(ref)
        timing.resolve = perf_counter() - started
        version = resolution.version
        if not self._pool.is_warm(version.key):
            legs = await self._once.do(version.key, lambda: self.warm(version))
            timing.download, timing.load = legs.download, legs.load
        started = perf_counter()
        reply = await self._pool.predict(version.key, job)
        timing.predict = reply.seconds
        timing.queue = perf_counter() - started - reply.seconds
        return Prediction(resolution, reply, timing)

    async def warm(self, version: ModelVersion) -> Timing:
        """Have the version's files here and its workers loaded; only the first asker pays."""
