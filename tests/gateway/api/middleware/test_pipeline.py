"""Proves what becomes of requests that break, by their sender's fault or by ours."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway import settings
from gateway.api import keys
from gateway.api.body.memory_limit import BodyMemoryLimit
from gateway.api.connections import ConnectionMonitor
from gateway.api.inflight import InFlightRequests
from gateway.api.middleware import pipeline
from gateway.api.middleware.request_id import RequestIdGenerator
from gateway.api.middleware.request_metrics import RequestMetrics
from gateway.errors import INTERNAL_ERRORS
from gateway.server.shutdown import GracefulShutdown
from gateway.settings import CurrentSettings
from gateway.telemetry.metrics.requests import RequestCounters
from tests.support.waiting import until
from workers.metrics import Counters

if TYPE_CHECKING:
    from aiohttp.typedefs import Middleware
    from pytest_aiohttp.plugin import AiohttpClient

    from tests.support.gateways import Gateway

SECONDS = 30.0

in_session = pytest.mark.asyncio(loop_scope="session")


async def breaks(request: web.Request) -> web.Response:
    """A handler with a fault."""
    raise KeyError("s3cr3t")


def layer(drain: InFlightRequests, tally: Counters, traffic: RequestCounters) -> Middleware:
    """The middleware, with rooms that refuse nothing."""
    return pipeline.request_pipeline(
        RequestIdGenerator(),
        drain,
        connections=ConnectionMonitor(
            drain, max_connections=lambda: 100, stalled_seconds=60, max_unsent_bytes=2**30, counters=tally
        ),
        body_memory=BodyMemoryLimit(1, counters=tally),
        request_metrics=RequestMetrics(traffic, ()),
        settings=CurrentSettings(settings.load({"GATEWAY_MODEL_ERROR_TEXT": "true"})),
    )


async def test_a_fault_of_ours(aiohttp_client: AiohttpClient, caplog: pytest.LogCaptureFixture) -> None:
    """The client learns nothing but the request's id, the log has the trace, and the request is over."""
    drain, tally, traffic = InFlightRequests(), Counters(), RequestCounters()
    app = web.Application(middlewares=[layer(drain, tally, traffic)])
    app[keys.TALLY] = tally
    app.router.add_get("/{name}", breaks)
    client = await aiohttp_client(app)
    async with client.get("/x", headers={"X-Request-Id": "find-me"}) as answer:
        assert answer.status == 500
        assert answer.headers["X-Request-Id"] == "find-me"
        error = await answer.json()
    assert (error["error_code"], error["request_id"]) == ("INTERNAL_ERROR", "find-me")
    assert "s3cr3t" not in json.dumps(error)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert vars(record)["request_id"] == "find-me"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)
    assert drain.count == 0
    assert tally.value(INTERNAL_ERRORS, "request") == 1
    assert list(traffic.requests()) == [(("GET", "/{name}", "500"), 1)]


async def raw(gateway: Gateway, sent: bytes) -> bytes:
    """What comes back for these bytes until the gateway closes the connection."""
    reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
    writer.write(sent)
    await writer.drain()
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


HEAD = b"POST /model/api-sums/1/invocation HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@in_session
@pytest.mark.parametrize(
    "nonsense", [b"NONSENSE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"]
)
async def test_what_is_no_http(gateway: Gateway, nonsense: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """It is refused, and fills no log."""
    assert b" 400 " in (await raw(gateway, nonsense)).splitlines()[0]
    assert caplog.records == []


@in_session
async def test_a_client_that_goes_away_within_its_body(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for the rest, and nothing is logged."""
    _, writer = await asyncio.open_connection(gateway.host, gateway.port)
    writer.write(HEAD + b"Content-Length: 100\r\n\r\nabc")
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(0.1)
    assert caplog.records == []
    async with gateway.get("/health/live") as answer:
        assert answer.status == 200


@pytest.mark.parametrize("gone", [True, False])
async def test_what_a_shutdown_gives_up(gone: bool) -> None:
    """It counts as turned away; where the client had gone before, as that."""
    drain, tally, traffic, begun = InFlightRequests(), Counters(), RequestCounters(), asyncio.Event()

    async def never(_: web.Request) -> web.Response:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    app = web.Application(middlewares=[layer(drain, tally, traffic)])
    app.router.add_get("/", never)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    _, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(SECONDS):
        await begun.wait()
        if gone:
            writer.transport.abort()
            await until(lambda: not drain.count)
        await GracefulShutdown(runner, [], in_flight=drain, force=asyncio.Event()).run(grace=0, seconds=0.2)
        await runner.cleanup()
    writer.close()
    assert list(traffic.requests()) == [(("GET", "", "499" if gone else "503"), 1)]
