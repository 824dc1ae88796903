"""The health and the metrics of a node, by HTTP."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import orjson
from aiohttp import web

from gateway.telemetry.metrics import definitions
from gateway.telemetry.metrics.collector import MetricsCollector, SnapshotSlot
from gateway.telemetry.metrics.exposition import render
from gateway.telemetry.metrics.gauges import EngineGauges, build_versions
from gateway.telemetry.metrics.requests import RequestCounters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.node.app import Node
    from gateway.telemetry.metrics.gauges import GaugeSample

_METRICS: Final = definitions.all_metrics()


class NodePages:
    """The pages of one node, which is running."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._metrics = MetricsCollector(
            node.counters, RequestCounters(), collect_gauges=self._gauges, slot=SnapshotSlot()
        )

    @asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[None]:
        """Serve the pages until the context ends. Raise OSError if the port cannot be listened on."""
        app = web.Application()
        app.router.add_get("/health/live", self._live)
        app.router.add_get("/health/ready", self._ready)
        app.router.add_get("/metrics", self._show_metrics)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            yield
        finally:
            await runner.cleanup()

    async def _live(self, _: web.Request) -> web.Response:
        """GET /health/live: the event loop runs."""
        return _json({"live": True})

    async def _ready(self, _: web.Request) -> web.Response:
        """GET /health/ready: 200 while the node can load models, until it stops."""
        node = self._node
        body = {
            "ready": node.ready,
            "draining": node.feed.draining,
            "links": node.feed.links,
            "workers": {"can_start": node.worker_health.can_start},
        }
        return _json(body, status=200 if node.ready else 503)

    async def _show_metrics(self, request: web.Request) -> web.Response:
        """GET /metrics: those of the gateway's metrics that a node has."""
        accept = ",".join(request.headers.getall("Accept", []))
        body, content_type = await render(await self._metrics.snapshots(), _METRICS, accept)
        return web.Response(body=body, headers={"Content-Type": content_type})

    def _gauges(self) -> Iterator[GaugeSample]:
        node = self._node
        yield definitions.BUILD_INFO, build_versions(), 1.0
        yield definitions.READY, (), node.ready
        yield definitions.DRAINING, (), node.feed.draining
        yield definitions.EVENT_LOOP_LAG, (), node.event_loop_lag.max_seconds
        yield definitions.ASYNCIO_TASKS, (), len(asyncio.all_tasks())
        yield definitions.WORKER_WALL, node.wall.labels, node.wall.complete
        yield from EngineGauges(node.engine).collect()


def _json(body: dict[str, object], *, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
