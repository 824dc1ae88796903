"""The typed keys under which the application holds its rooms."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.api.body.memory_limit import Intake
from gateway.api.connections import Connections
from gateway.api.inflight import Drain
from gateway.artifacts.cache import ArtifactCache
from gateway.catalog import Catalog
from gateway.mlflow_client import MlflowClient
from gateway.serving.admission import Arrivals
from gateway.serving.details import Details
from gateway.serving.pinned import Pins
from gateway.serving.service import Serving
from gateway.serving.worker_health import Vitals
from gateway.settings import Current
from gateway.telemetry.log_throttle import Complaints
from gateway.telemetry.metrics.collector import Metrics, Seat
from gateway.telemetry.metrics.requests import Traffic
from workers.metrics import Counters
from workers.pool.pool import Pool

SETTINGS: Final = web.AppKey("settings", Current)
COMPLAINTS: Final = web.AppKey("complaints", Complaints)
DRAIN: Final = web.AppKey("drain", Drain)
CONNECTIONS: Final = web.AppKey("connections", Connections)
INTAKE: Final = web.AppKey("intake", Intake)
TALLY: Final = web.AppKey("tally", Counters)
MLFLOW: Final = web.AppKey("mlflow", MlflowClient)
CATALOG: Final = web.AppKey("catalog", Catalog)
ARTIFACTS: Final = web.AppKey("artifacts", ArtifactCache)
POOL: Final = web.AppKey("pool", Pool)
ARRIVALS: Final = web.AppKey("arrivals", Arrivals)
SERVING: Final = web.AppKey("serving", Serving)
PINS: Final = web.AppKey("pins", Pins)
VITALS: Final = web.AppKey("vitals", Vitals)
DETAILS: Final = web.AppKey("details", Details)
TRAFFIC: Final = web.AppKey("traffic", Traffic)
SEAT: Final = web.AppKey("seat", Seat)
METRICS: Final = web.AppKey("metrics", Metrics)
OPENAPI: Final = web.AppKey("openapi", bytes)
