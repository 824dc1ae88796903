"""Proves under which labels a request counts, over a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway.api.middleware.request_metrics import RequestMetrics
from gateway.telemetry.metrics.requests import RequestCounters
from workers.protocol.messages import ModelKey

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler
    from pytest_aiohttp.plugin import AiohttpClient

KEY = ModelKey("wine", "1", "fingerprint")


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("POST", "/predict/a", ("POST", "/predict/{name}", "200")),
        ("POST", "/predict/b/", ("POST", "/predict/{name}", "200")),
        ("GET", "/models", ("GET", "/models", "200")),
        ("GET", "/nothing", ("GET", "none", "404")),
        ("SEARCH", "/nothing", ("other", "none", "404")),
    ],
)
async def test_labels(
    aiohttp_client: AiohttpClient, method: str, path: str, labels: tuple[str, str, str]
) -> None:
    """The route's pattern, never the path; an unknown method counts as `other`."""
    counters = RequestCounters()

    async def predict(_: web.Request) -> web.Response:
        return web.Response()

    async def show(_: web.Request) -> web.Response:
        return web.Response()

    metrics = RequestMetrics(counters, (predict,))

    @web.middleware
    async def record(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except web.HTTPException as error:
            metrics.record(request, error.status, seconds=0.002, key=KEY)
            raise
        metrics.record(request, response.status, seconds=0.002, key=KEY)
        return response

    app = web.Application(middlewares=[record])
    app.router.add_post("/predict/{name}", predict)
    app.router.add_post("/predict/{name}/", predict)
    app.router.add_get("/models", show)
    client = await aiohttp_client(app)
    for _ in range(2):
        async with client.request(method, path):
            pass
    assert list(counters.requests()) == [(labels, 2)]
    predictions = [(("wine", "1", "200"), 2)] if method == "POST" else []
    assert list(counters.predictions()) == predictions
