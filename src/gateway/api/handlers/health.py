"""The routes that tell how the gateway itself is."""

from __future__ import annotations

import asyncio
import platform
from importlib import metadata
from typing import TYPE_CHECKING

from gateway.api import keys, responses
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.mlflow_client import MlflowClient

_MLFLOW_TIMEOUT_SECONDS = 2.0


async def live(request: web.Request) -> web.Response:
    """GET /health/live: the event loop turns."""
    return responses.json_response({"live": True})


def is_ready(app: web.Application) -> bool:
    """Whether MLflow was reached, every pinned model is warm and others can be loaded; not at shutdown."""
    able = app[keys.CATALOG].ever_reached and app[keys.PINS].ready and app[keys.VITALS].healthy
    return able and not app[keys.DRAIN].draining


async def ready(request: web.Request) -> web.Response:
    """GET /health/ready: 200 once MLflow was reached and every pinned model is warm, until shutdown.

    503 too where no worker process can be started, as `workers.can_start` says. MLflow being away later
    does not change it, since warm and cached models serve on; the body says so.
    """
    app = request.app
    catalog, pins, drain = app[keys.CATALOG], app[keys.PINS], app[keys.DRAIN]
    whole = is_ready(app)
    since = catalog.unavailable_since
    body = {
        "ready": whole,
        "draining": drain.draining,
        "mlflow": {
            "reached": catalog.ever_reached,
            "away": catalog.unavailable_reason,
            "since": None if since is None else since.isoformat(timespec="seconds"),
        },
        "pinned": {"ready": pins.ready, "problems": dict(pins.failures)},
        "workers": {"can_start": app[keys.VITALS].healthy},
    }
    return responses.json_response(body, status=200 if whole else 503)


async def version(request: web.Request) -> web.Response:
    """GET /version: what runs here, and MLflow's own version where it can be asked now."""
    body = {
        "gateway": metadata.version("model-invocation-endpoint"),
        "python": platform.python_version(),
        "mlflow": metadata.version("mlflow"),
        "mlflow_server": await _server_version(request.app[keys.MLFLOW]),
    }
    return responses.json_response(body)


async def _server_version(mlflow: MlflowClient) -> str | None:
    try:
        async with asyncio.timeout(_MLFLOW_TIMEOUT_SECONDS):
            return await mlflow.server_version()
    except (GatewayError, TimeoutError):
        return None
