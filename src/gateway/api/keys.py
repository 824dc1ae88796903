"""The components of the application, and the key under which the application holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from gateway.api.body.memory_limit import BodyMemoryLimit
    from gateway.api.connections import ConnectionMonitor
    from gateway.api.inflight import InFlightRequests
    from gateway.api.middleware.error_reporting import ErrorReporter
    from gateway.api.schema.documents import VersionDocuments
    from gateway.artifacts.cache import ArtifactCache
    from gateway.auth.limits.limiter import RequestLimiter
    from gateway.catalog import Catalog
    from gateway.concurrency.singleflight import SingleFlight
    from gateway.engines.engine import Engine
    from gateway.mlflow_client import MlflowClient
    from gateway.model_files.version_files import VersionFiles
    from gateway.serving.details import VersionDetailsService
    from gateway.serving.pinned import PinnedModels
    from gateway.serving.service import PredictionService
    from gateway.serving.worker_health import WorkerHealth
    from gateway.settings import CurrentSettings
    from gateway.system.log_throttle import LogThrottle
    from gateway.system.wall import WallStatus
    from gateway.telemetry.events import EventLog
    from gateway.telemetry.history import History
    from gateway.telemetry.metrics.collector import MetricsCollector, SnapshotSlot
    from gateway.telemetry.metrics.event_loop_lag import EventLoopLag
    from gateway.telemetry.metrics.requests import RequestCounters
    from workers.metrics import Counters
    from workers.protocol.messages import ModelKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """The parts of one application; `gateway.app` builds, opens and closes them."""

    settings: CurrentSettings
    counters: Counters
    log_throttle: LogThrottle
    in_flight: InFlightRequests
    connections: ConnectionMonitor
    body_memory: BodyMemoryLimit
    request_limiter: RequestLimiter
    mlflow: MlflowClient
    catalog: Catalog
    artifacts: ArtifactCache
    files: VersionFiles
    engine: Engine
    loads: SingleFlight[ModelKey]
    predictions: PredictionService
    details: VersionDetailsService
    pinned: PinnedModels
    worker_health: WorkerHealth
    wall: WallStatus
    request_counters: RequestCounters
    snapshot_slot: SnapshotSlot
    event_loop_lag: EventLoopLag
    error_reporter: ErrorReporter
    metrics: MetricsCollector
    history: History
    events: EventLog
    openapi: bytes
    documents: VersionDocuments

    @property
    def ready(self) -> bool:
        """Whether MLflow was reached, pinned models are warm, and workers can start; False at shutdown."""
        able = self.catalog.ever_reached and self.pinned.ready and self.worker_health.healthy
        return able and not self.in_flight.draining


COMPONENTS: Final = web.AppKey("components", Components)
