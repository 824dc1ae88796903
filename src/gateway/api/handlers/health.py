"""The routes for the health and the versions of the gateway itself."""

from __future__ import annotations

import asyncio
import platform
from importlib import metadata
from typing import TYPE_CHECKING

from gateway.api import responses
from gateway.api.keys import COMPONENTS
from gateway.auth.actions import Action
from gateway.auth.principal import current_principal
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.api.keys import Components
    from gateway.mlflow_client import MlflowClient

_MLFLOW_TIMEOUT_SECONDS = 2.0


async def live(request: web.Request) -> web.Response:
    """GET /health/live: the event loop runs."""
    return responses.json_response({"live": True})


async def ready(request: web.Request) -> web.Response:
    """GET /health/ready: 200 once MLflow was reached and every pinned model is warm, until shutdown.

    Also 503 if no worker process can be started and no model is warm; in a fleet, if no node is connected.
    It stays 200 while a warm model can answer, and if MLflow becomes unavailable later; the body says so.
    """
    components = request.app[COMPONENTS]
    catalog, since = components.catalog, components.catalog.unavailable_since
    is_ready = components.ready
    body = {
        "ready": is_ready,
        "draining": components.in_flight.draining,
        "mlflow": {
            "reached": catalog.ever_reached,
            "away": catalog.unavailable_reason,
            "since": None if since is None else since.isoformat(timespec="seconds"),
        },
        "pinned": {"ready": components.pinned.ready, "problems": _pinned_problems(components)},
        "workers": {"can_start": components.worker_health.can_start},
    }
    if components.settings.value.fleet.engine != "local":
        nodes = components.engine.nodes()
        body["nodes"] = {"connected": sum(node.is_alive for node in nodes), "known": len(nodes)}
    return responses.json_response(body, status=200 if is_ready else 503)


def _pinned_problems(components: Components) -> dict[str, str]:
    """Return the problems by model; none if the caller may not see the gateway's state."""
    may_see = current_principal.get().rights.allows_route(Action.STATUS)
    return dict(components.pinned.failures) if may_see else {}


async def version(request: web.Request) -> web.Response:
    """GET /version: the versions of all parts, MLflow's server if it answers, and how models are confined."""
    body = {
        "gateway": metadata.version("model-invocation-endpoint"),
        "python": platform.python_version(),
        "mlflow": metadata.version("mlflow"),
        "wall": request.app[COMPONENTS].wall.to_json(),
        "mlflow_server": await _server_version(request.app[COMPONENTS].mlflow),
    }
    return responses.json_response(body)


async def _server_version(mlflow: MlflowClient) -> str | None:
    try:
        async with asyncio.timeout(_MLFLOW_TIMEOUT_SECONDS):
            return await mlflow.server_version()
    except (GatewayError, TimeoutError):
        return None
