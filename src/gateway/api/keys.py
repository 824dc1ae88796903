"""The typed keys under which the application holds its rooms."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.api.body.memory_limit import BodyMemoryLimit
from gateway.api.connections import ConnectionMonitor
from gateway.api.inflight import InFlightRequests
from gateway.artifacts.cache import ArtifactCache
from gateway.catalog import Catalog
from gateway.mlflow_client import MlflowClient
from gateway.serving.admission import DownloadLimiter
from gateway.serving.details import VersionDetailsService
from gateway.serving.pinned import PinnedModels
from gateway.serving.service import PredictionService
from gateway.serving.worker_health import WorkerHealth
from gateway.settings import CurrentSettings
from gateway.telemetry.log_throttle import LogThrottle
from gateway.telemetry.metrics.collector import MetricsCollector, SnapshotSlot
from gateway.telemetry.metrics.requests import RequestCounters
from workers.metrics import Counters
from workers.pool.pool import Pool

SETTINGS: Final = web.AppKey("settings", CurrentSettings)
COMPLAINTS: Final = web.AppKey("complaints", LogThrottle)
DRAIN: Final = web.AppKey("drain", InFlightRequests)
CONNECTIONS: Final = web.AppKey("connections", ConnectionMonitor)
INTAKE: Final = web.AppKey("intake", BodyMemoryLimit)
TALLY: Final = web.AppKey("tally", Counters)
MLFLOW: Final = web.AppKey("mlflow", MlflowClient)
CATALOG: Final = web.AppKey("catalog", Catalog)
ARTIFACTS: Final = web.AppKey("artifacts", ArtifactCache)
POOL: Final = web.AppKey("pool", Pool)
ARRIVALS: Final = web.AppKey("arrivals", DownloadLimiter)
SERVING: Final = web.AppKey("serving", PredictionService)
PINS: Final = web.AppKey("pins", PinnedModels)
VITALS: Final = web.AppKey("vitals", WorkerHealth)
DETAILS: Final = web.AppKey("details", VersionDetailsService)
TRAFFIC: Final = web.AppKey("traffic", RequestCounters)
SEAT: Final = web.AppKey("seat", SnapshotSlot)
METRICS: Final = web.AppKey("metrics", MetricsCollector)
OPENAPI: Final = web.AppKey("openapi", bytes)
