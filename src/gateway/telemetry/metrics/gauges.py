"""Reading of the gauges from the parts of the gateway."""

from __future__ import annotations

import asyncio
import platform
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Final, Protocol

from gateway.telemetry.metrics import definitions
from gateway.telemetry.metrics.node_gauges import node_gauges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.catalog import Catalog
    from gateway.engines.engine import Engine
    from gateway.serving.pinned import PinnedModels
    from gateway.system.wall import WallStatus
    from gateway.telemetry.metrics.definitions import MetricSpec
    from gateway.telemetry.metrics.event_loop_lag import EventLoopLag

_DIGEST_CHARACTERS: Final = 12
GaugeSample = tuple["MetricSpec", tuple[str, ...], float]


class InFlight(Protocol):
    """The number of requests in flight, and whether the gateway is shutting down."""

    draining: bool

    @property
    def count(self) -> int: ...


@cache
def build_versions() -> tuple[str, str, str]:
    """Return the versions of the gateway, of Python, and of the MLflow that workers have."""
    gateway, mlflow = metadata.version("model-invocation-endpoint"), metadata.version("mlflow")
    return gateway, platform.python_version(), mlflow


@dataclass(frozen=True, slots=True)
class EngineGauges:
    """A reader of the gauges of models, memory, environments and devices."""

    engine: Engine

    def collect(self) -> Iterator[GaugeSample]:
        """Yield them."""
        yield definitions.ENVIRONMENTS_BYTES, (), self.engine.environments_bytes
        yield from self._model_gauges()
        yield from self._memory_gauges()
        yield from self._device_gauges()
        yield from node_gauges(self.engine.nodes())

    def _model_gauges(self) -> Iterator[GaugeSample]:
        """Yield the gauges of models; two fingerprints of one version count as that version."""
        statuses = self.engine.statuses()
        states = Counter(status.state for status in statuses.values())
        yield definitions.MODELS_LOADED, (), states["warm"]
        yield definitions.MODELS_LOADING, (), states["loading"]
        sums: Counter[tuple[MetricSpec, tuple[str, ...]]] = Counter()
        for key, size in self.engine.memory_report().model_bytes.items():
            sums[definitions.MODEL_MEMORY, (key.name, key.version)] += size
        for key, status in statuses.items():
            if status.state == "warm":
                version = (key.name, key.version)
                sums[definitions.WORKERS, version] += status.workers
                sums[definitions.QUEUED_REQUESTS, version] += status.waiting
                sums[definitions.ACTIVE_PREDICTIONS, version] += status.running
        for (spec, labels), value in sums.items():
            yield spec, labels, value

    def _memory_gauges(self) -> Iterator[GaugeSample]:
        """Yield the memory gauges as the pool last measured them, because a measurement takes long."""
        memory = self.engine.memory_report()
        yield definitions.ENVIRONMENTS_RUNNING, (), len(self.engine.running_environments)
        for digest, size in memory.environment_bytes.items():
            yield definitions.ENVIRONMENT_MEMORY, (digest[:_DIGEST_CHARACTERS],), size
        if memory.budget_bytes is not None:
            yield definitions.MEMORY_LIMIT, (), memory.budget_bytes
            yield definitions.BASE_MEMORY, (), memory.base_bytes

    def _device_gauges(self) -> Iterator[GaugeSample]:
        """Yield the gauges of GPUs as the pool last measured them."""
        for device in self.engine.device_reports():
            yield definitions.GPU_SHARE_TAKEN, (device.uuid,), device.shares_taken / 1000
            if device.memory is not None:
                yield definitions.GPU_MEMORY, (device.uuid,), device.memory.used_bytes
                yield definitions.GPU_MEMORY_TOTAL, (device.uuid,), device.memory.total_bytes


@dataclass(frozen=True, slots=True)
class GaugeSources:
    """A reader of the gauges; `ready` decides as /health/ready does.

    `models` is None if another process of this machine holds the models, and so reports them.
    """

    catalog: Catalog
    pinned: PinnedModels
    models: EngineGauges | None
    in_flight: InFlight
    lag: EventLoopLag
    wall: WallStatus
    ready: Callable[[], bool]

    def collect(self) -> Iterator[GaugeSample]:
        """Yield every gauge of `definitions.GAUGES` except the snapshot's age."""
        yield definitions.BUILD_INFO, build_versions(), 1.0
        yield definitions.READY, (), self.ready()
        yield definitions.DRAINING, (), self.in_flight.draining
        yield definitions.MLFLOW_UP, (), self.catalog.unavailable_reason is None
        yield definitions.PINNED_MODELS_FAILING, (), len(self.pinned.failures)
        yield definitions.REQUESTS_IN_FLIGHT, (), self.in_flight.count
        yield definitions.EVENT_LOOP_LAG, (), self.lag.max_seconds
        yield definitions.ASYNCIO_TASKS, (), len(asyncio.all_tasks())
        yield definitions.WORKER_WALL, self.wall.labels, self.wall.complete
        if self.models is not None:
            yield from self.models.collect()
