"""Proves what the request pipeline does with failed requests, be it the client's or the gateway's fault."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway import settings
from gateway.api.body.memory_limit import BodyMemoryLimit
from gateway.api.connections import ConnectionMonitor
from gateway.api.inflight import InFlightRequests
from gateway.api.middleware.browser import BrowserRules
from gateway.api.middleware.error_reporting import ErrorReporter
from gateway.api.middleware.pipeline import RequestPipeline
from gateway.api.middleware.request_metrics import RequestMetrics
from gateway.errors import INTERNAL_ERRORS
from gateway.server.shutdown import GracefulShutdown
from gateway.settings import CurrentSettings
from gateway.system.log_throttle import LogThrottle
from gateway.telemetry.metrics.requests import RequestCounters
from tests.support.raw_clients import bare, head
from tests.support.waiting import until
from workers.metrics import Counters

if TYPE_CHECKING:
    from aiohttp.typedefs import Middleware
    from pytest_aiohttp.plugin import AiohttpClient

    from tests.support.gateways import Gateway

SECONDS = 60.0

in_session = pytest.mark.asyncio(loop_scope="session")


def create_pipeline(
    in_flight: InFlightRequests, counters: Counters, request_counters: RequestCounters
) -> Middleware:
    """Return the middleware, with limits that no test reaches."""
    current = CurrentSettings(settings.load({}))
    pipeline = RequestPipeline(
        browser=BrowserRules(current.value.browser),
        in_flight=in_flight,
        connections=ConnectionMonitor(
            in_flight,
            max_connections=lambda: 100,
            stalled_seconds=60,
            max_unsent_bytes=2**30,
            counters=counters,
        ),
        body_memory=BodyMemoryLimit(1, counters=counters),
        error_reporter=ErrorReporter(current, counters=counters, log_throttle=LogThrottle()),
        request_metrics=RequestMetrics(request_counters, ()),
    )
    return web.middleware(pipeline)


async def test_an_unexpected_error(aiohttp_client: AiohttpClient, caplog: pytest.LogCaptureFixture) -> None:
    """The client learns only the request id, the log has the trace, and the request is over."""
    in_flight, counters, request_counters = InFlightRequests(), Counters(), RequestCounters()

    async def fail(_: web.Request) -> web.Response:
        raise KeyError("s3cr3t")

    app = web.Application(middlewares=[create_pipeline(in_flight, counters, request_counters)])
    app.router.add_get("/{name}", fail)
    client = await aiohttp_client(app)
    async with client.get("/x", headers={"X-Request-Id": "find-me"}) as response:
        assert response.status == 500
        assert response.headers["X-Request-Id"] == "find-me"
        error = await response.json()
    assert (error["error_code"], error["request_id"]) == ("INTERNAL_ERROR", "find-me")
    assert "s3cr3t" not in json.dumps(error)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert vars(record)["request_id"] == "find-me"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)
    assert in_flight.count == 0
    assert counters.value(INTERNAL_ERRORS, "request") == 1
    assert list(request_counters.requests()) == [(("GET", "/{name}", "500"), 1)]


@in_session
@pytest.mark.parametrize(
    "sent", [b"NONSENSE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"], ids=repr
)
async def test_invalid_http(gateway: Gateway, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """The gateway answers 400 and logs nothing, because any client could fill the log."""
    async with bare(str(gateway.make_url(""))) as client:
        assert await client.send(sent)
        assert await client.status() == 400
        await client.rest()
    assert caplog.records == []


@in_session
async def test_a_disconnect_during_upload(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    """The request ends with the connection, and nothing is logged."""
    assert gateway.server.runner is not None
    server = gateway.server.runner.server
    assert server is not None
    before = len(server.connections)
    async with bare(str(gateway.make_url(""))) as client:
        await client.send(head("/model/api-sums/1/invocation", "Content-Length: 100") + b"abc")
        await until(lambda: len(server.connections) > before)
    await until(lambda: len(server.connections) == before)
    assert caplog.records == []
    async with gateway.get("/health/live") as response:
        assert response.status == 200


@pytest.mark.parametrize("disconnected", [True, False])
async def test_a_request_that_the_shutdown_cancels(*, disconnected: bool) -> None:
    """It counts as 503; a request whose client disconnected before the shutdown counts as 499."""
    in_flight, counters, request_counters = InFlightRequests(), Counters(), RequestCounters()
    started = asyncio.Event()

    async def wait_forever(_: web.Request) -> web.Response:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    app = web.Application(middlewares=[create_pipeline(in_flight, counters, request_counters)])
    app.router.add_get("/", wait_forever)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    async with asyncio.timeout(SECONDS), bare(f"http://{host}:{port}") as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await started.wait()
        if disconnected:
            client.vanish()
            await until(lambda: not in_flight.count)
        shutdown = GracefulShutdown(runner, [], in_flight=in_flight, force=asyncio.Event())
        await shutdown.run(grace=0, seconds=0.2)
        await runner.cleanup()
    assert list(request_counters.requests()) == [(("GET", "", "499" if disconnected else "503"), 1)]
