"""The typed keys under which the application holds its rooms."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.api.drain import Drain
from gateway.artifacts.cache import ArtifactCache
from gateway.catalog import Catalog
from gateway.details import Details
from gateway.mlflow_client import MlflowClient
from gateway.pins import Pins
from gateway.serving import Serving
from gateway.settings import Settings
from workers.pool import Pool, Tally

SETTINGS: Final = web.AppKey("settings", Settings)
DRAIN: Final = web.AppKey("drain", Drain)
TALLY: Final = web.AppKey("tally", Tally)
MLFLOW: Final = web.AppKey("mlflow", MlflowClient)
CATALOG: Final = web.AppKey("catalog", Catalog)
ARTIFACTS: Final = web.AppKey("artifacts", ArtifactCache)
POOL: Final = web.AppKey("pool", Pool)
SERVING: Final = web.AppKey("serving", Serving)
PINS: Final = web.AppKey("pins", Pins)
DETAILS: Final = web.AppKey("details", Details)
OPENAPI: Final = web.AppKey("openapi", bytes)
