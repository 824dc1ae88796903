"""The route for the gateway's metrics."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.api.body.memory_limit import BODIES_REJECTED
from gateway.api.connections import CONNECTIONS_CLOSED
from gateway.api.keys import COMPONENTS
from gateway.api.middleware.access_control import AUTH_OUTCOMES, PRINCIPAL_REQUESTS
from gateway.api.tls_connection import TLS_HANDSHAKES_FAILED
from gateway.telemetry.metrics.definitions import all_metrics
from gateway.telemetry.metrics.exposition import render

ALL_METRICS: Final = all_metrics(
    (AUTH_OUTCOMES, PRINCIPAL_REQUESTS, BODIES_REJECTED, CONNECTIONS_CLOSED, TLS_HANDSHAKES_FAILED)
)
"""Every metric of the gateway."""


async def show(request: web.Request) -> web.Response:
    """GET /metrics: the metrics of all gateway processes, as OpenMetrics if `Accept` prefers that."""
    accept = ",".join(request.headers.getall("Accept", []))
    body, content_type = await render(await request.app[COMPONENTS].metrics.snapshots(), ALL_METRICS, accept)
    return web.Response(body=body, headers={"Content-Type": content_type})
