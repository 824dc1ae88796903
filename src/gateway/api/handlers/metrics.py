"""The route that shows the gateway's figures."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from gateway.api import keys
from gateway.api.body.memory_limit import BODIES_REJECTED
from gateway.api.connections import CONNECTIONS_CLOSED
from gateway.telemetry.metrics.definitions import all_metrics
from gateway.telemetry.metrics.exposition import build_registry

ALL_METRICS: Final = all_metrics((BODIES_REJECTED, CONNECTIONS_CLOSED))
"""Every metric there is."""

# prometheus_client fails on any other version, and would say it back.
_UNSUPPORTED_VERSION: Final = re.compile(r"version=(?!\d{1,3}(\.\d{1,3}){2} *([;,]|$))")


async def show(request: web.Request) -> web.Response:
    """GET /metrics: every process' figures, in OpenMetrics' form where `Accept` asks for that."""
    accept = ",".join(request.headers.getall("Accept", []))
    encode, content_type = choose_encoder("" if _UNSUPPORTED_VERSION.search(accept) else accept)
    snapshots = await request.app[keys.METRICS].snapshots()
    # A page of many models takes milliseconds, which nobody else should wait for.
    body = await asyncio.to_thread(lambda: encode(build_registry(snapshots, ALL_METRICS)))
    return web.Response(body=body, headers={"Content-Type": content_type})
