"""What the gauges are read from."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gateway.telemetry.metrics import definitions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.catalog import Catalog
    from gateway.serving.pinned import PinnedModels
    from gateway.telemetry.metrics.definitions import MetricSpec
    from gateway.telemetry.metrics.event_loop_lag import EventLoopLag
    from workers.pool.pool import Pool

GaugeSample = tuple["MetricSpec", tuple[str, ...], float]


class InFlight(Protocol):
    """The requests in flight, and whether they are the last."""

    draining: bool

    @property
    def count(self) -> int: ...


@dataclass(frozen=True, slots=True)
class GaugeSources:
    """The parts of the gateway that know how it is; `ready` decides as /health/ready does."""

    catalog: Catalog
    pins: PinnedModels
    pool: Pool
    in_flight: InFlight
    lag: EventLoopLag
    ready: Callable[[], bool]

    def collect(self) -> Iterator[GaugeSample]:
        """Every gauge of `families.GAUGES` but the snapshot's age."""
        yield definitions.READY, (), self.ready()
        yield definitions.DRAINING, (), self.in_flight.draining
        yield definitions.MLFLOW_UNAVAILABLE, (), self.catalog.unavailable_reason is not None
        yield definitions.PINNED_MODELS_FAILING, (), len(self.pins.failures)
        yield definitions.REQUESTS_IN_FLIGHT, (), self.in_flight.count
        yield definitions.EVENT_LOOP_LAG, (), self.lag.max_seconds
        yield definitions.ASYNCIO_TASKS, (), len(asyncio.all_tasks())
        yield from self._model_gauges()
        yield from self._memory_gauges()

    def _model_gauges(self) -> Iterator[GaugeSample]:
        """One fingerprint of a version may follow upon another: both count as the version."""
        states = self.pool.statuses()
        kinds = Counter(state.state for state in states.values())
        yield definitions.MODELS_LOADED, (), kinds["warm"]
        yield definitions.MODELS_LOADING, (), kinds["loading"]
        sums: Counter[tuple[MetricSpec, tuple[str, ...]]] = Counter()
        for key, size in self.pool.memory_report().model_bytes.items():
            sums[definitions.MODEL_MEMORY, (key.name, key.version)] += size
        for key, state in states.items():
            if state.state == "warm":
                labels = (key.name, key.version)
                sums[definitions.WORKERS, labels] += state.workers
                sums[definitions.QUEUED_REQUESTS, labels] += state.waiting
                sums[definitions.ACTIVE_PREDICTIONS, labels] += state.running
        for (family, version), number in sums.items():
            yield family, version, number

    def _memory_gauges(self) -> Iterator[GaugeSample]:
        """As it was last measured; measuring takes long, and is the pool's own affair."""
        memory = self.pool.memory_report()
        if memory.budget_bytes is not None:
            yield definitions.MEMORY_LIMIT, (), memory.budget_bytes
            yield definitions.BASE_MEMORY, (), memory.base_bytes
