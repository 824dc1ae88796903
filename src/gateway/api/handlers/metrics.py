"""The route for the gateway's metrics."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from gateway.api.body.memory_limit import BODIES_REJECTED
from gateway.api.connections import CONNECTIONS_CLOSED
from gateway.api.keys import COMPONENTS
from gateway.api.middleware.access_control import AUTH_OUTCOMES, PRINCIPAL_REQUESTS
from gateway.api.tls_connection import TLS_HANDSHAKES_FAILED
from gateway.telemetry.metrics.definitions import all_metrics
from gateway.telemetry.metrics.exposition import build_registry

ALL_METRICS: Final = all_metrics(
    (AUTH_OUTCOMES, PRINCIPAL_REQUESTS, BODIES_REJECTED, CONNECTIONS_CLOSED, TLS_HANDSHAKES_FAILED)
)
"""Every metric of the gateway."""

# prometheus_client fails on any other version, and would repeat it in its response.
_UNSUPPORTED_VERSION: Final = re.compile(r"version=(?!\d{1,3}(\.\d{1,3}){2} *([;,]|$))")


async def show(request: web.Request) -> web.Response:
    """GET /metrics: the metrics of all gateway processes, as OpenMetrics if `Accept` prefers that."""
    accept = ",".join(request.headers.getall("Accept", []))
    encode, content_type = choose_encoder("" if _UNSUPPORTED_VERSION.search(accept) else accept)
    snapshots = await request.app[COMPONENTS].metrics.snapshots()
    # With many models this takes milliseconds, so it must not block the event loop.
    body = await asyncio.to_thread(lambda: encode(build_registry(snapshots, ALL_METRICS)))
    return web.Response(body=body, headers={"Content-Type": content_type})
