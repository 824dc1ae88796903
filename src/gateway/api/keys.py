"""The typed keys under which the application holds its rooms."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.api.complaints import Complaints
from gateway.api.connections import Connections
from gateway.api.drain import Drain
from gateway.api.intake import Intake
from gateway.arrivals import Arrivals
from gateway.artifacts.cache import ArtifactCache
from gateway.catalog import Catalog
from gateway.details import Details
from gateway.metrics.metrics import Metrics, Seat
from gateway.metrics.traffic import Traffic
from gateway.mlflow_client import MlflowClient
from gateway.pins import Pins
from gateway.serving import Serving
from gateway.settings import Current
from gateway.vitals import Vitals
from workers.pool import Pool, Tally

SETTINGS: Final = web.AppKey("settings", Current)
COMPLAINTS: Final = web.AppKey("complaints", Complaints)
DRAIN: Final = web.AppKey("drain", Drain)
CONNECTIONS: Final = web.AppKey("connections", Connections)
INTAKE: Final = web.AppKey("intake", Intake)
TALLY: Final = web.AppKey("tally", Tally)
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
