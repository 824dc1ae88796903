"""Proves which connections the monitor closes: stalled ones, the slowest readers, and surplus idle ones."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway import settings
from gateway.api.connections import CONNECTIONS_CLOSED, ConnectionMonitor
from gateway.api.inflight import InFlightRequests
from gateway.api.keys import COMPONENTS
from gateway.api.unsent import unsent_bytes
from gateway.app import create_app
from tests.support.raw_clients import LIVE, SECONDS, Bare, bare
from tests.support.waiting import until
from workers.metrics import Counters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from aiohttp.typedefs import Handler

LIMIT = 8
LARGE = 16 * 2**20  # more than the buffers of the sockets hold
STALLED_SECONDS = 60.0
PROGRESS = 64 * 1024  # bytes that a client must read in that time


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


class MonitoredServer:
    """A server of `LIMIT` connections at most; a test starts each sweep of its monitor and sets the clock."""

    def __init__(self, runner: web.AppRunner, stack: AsyncExitStack) -> None:
        assert runner.server is not None
        self.server = runner.server
        self.counters = Counters()
        self.release = asyncio.Event()
        self.in_flight = InFlightRequests()
        self.now = 0.0
        self.blocks = False
        self.monitor = ConnectionMonitor(
            self.in_flight,
            max_connections=lambda: LIMIT,
            stalled_seconds=STALLED_SECONDS,
            max_unsent_bytes=3 * LARGE,
            counters=self.counters,
            blocking=lambda: self.server.connections if self.blocks else [],
            sweep_seconds=3600,
            checks_per_yield=3,
            clock=lambda: self.now,
        )
        self.url = "http://{}:{}".format(*runner.addresses[0][:2])
        self._stack = stack

    def closed(self, reason: str) -> int:
        return self.counters.value(CONNECTIONS_CLOSED, reason)

    async def connect(self) -> Bare:
        before = len(self.server.connections)
        client = await self._stack.enter_async_context(bare(self.url))
        await until(lambda: len(self.server.connections) > before)
        return client

    async def sweep(self, *, seconds: float = 1.0) -> None:
        """Advance the clock, then sweep."""
        self.now += seconds
        await self.monitor.sweep(self.server)

    async def sweep_until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():
                await self.sweep(seconds=0)
                await asyncio.sleep(0.005)

    def unsent(self) -> int:
        """The bytes of responses that no client has read."""
        connections = self.server.connections
        return sum(unsent_bytes(each.transport) for each in connections if each.transport is not None)


@pytest.fixture
async def monitored() -> AsyncIterator[MonitoredServer]:
    """A server that answers `/wait` once `release` is set."""

    @web.middleware
    async def track(request: web.Request, handler: Handler) -> web.StreamResponse:
        server.in_flight.add(request.protocol)
        try:
            return await handler(request)
        finally:
            server.in_flight.remove(request.protocol)
            server.monitor.touch(request.protocol)

    async def live(_: web.Request) -> web.Response:
        return web.Response()

    async def wait(_: web.Request) -> web.Response:
        await server.release.wait()
        return web.Response()

    async def large(_: web.Request) -> web.Response:
        return web.Response(body=bytes(LARGE))

    async def huge(_: web.Request) -> web.Response:
        return web.Response(body=bytes(4 * LARGE))

    app = web.Application(middlewares=[track])
    app.add_routes(
        [
            web.get("/health/live", live),
            web.get("/wait", wait),
            web.get("/large", large),
            web.get("/huge", huge),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with AsyncExitStack() as stack:
        server = MonitoredServer(runner, stack)
        watch = asyncio.create_task(server.monitor.watch(server.server))
        await asyncio.sleep(0)
        yield server
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
    await runner.cleanup()


async def test_surplus_idle_connections(monitored: MonitoredServer, caplog: pytest.LogCaptureFixture) -> None:
    """Those without any request are closed first, the oldest first; busy ones stay; it is logged once."""
    caplog.set_level(logging.WARNING)
    idle, busy = await monitored.connect(), await monitored.connect()
    await idle.send(LIVE)
    assert await idle.status() == 200
    await busy.send(get("/wait"))
    await until(lambda: monitored.in_flight.count == 1)
    await monitored.sweep()
    silent = []
    for _ in range(LIMIT - 2):
        silent.append(await monitored.connect())
        await monitored.sweep()
    silent += [await monitored.connect() for _ in range(2)]
    await monitored.sweep()
    await until(lambda: len(monitored.server.connections) == LIMIT)
    assert monitored.closed("limit") == 2
    assert [await client.rest() for client in silent[:2]] == [b"", b""]
    more = [await monitored.connect() for _ in range(LIMIT)]
    await monitored.sweep()
    assert monitored.closed("limit") == 2 + LIMIT
    await idle.send(LIVE)
    assert await idle.status() == 200
    monitored.release.set()
    assert await busy.status() == 200
    for client in (*silent, *more):
        client.vanish()
    await until(lambda: len(monitored.server.connections) == 2)
    for _ in range(2):
        await monitored.sweep()
    first, last = caplog.messages
    assert first.endswith("connections are open and file descriptors allow 8; closing the longest idle ones")
    assert last == f"Connections are below the limit again; closed {2 + LIMIT} idle ones"


async def test_as_many_connections_as_allowed(monitored: MonitoredServer) -> None:
    """All stay open, however long."""
    clients = [await monitored.connect() for _ in range(LIMIT)]
    for _ in range(3):
        await monitored.sweep(seconds=10 * STALLED_SECONDS)
    for client in clients:
        await client.send(LIVE)
        assert await client.status() == 200
    assert monitored.closed("limit") == 0


async def test_without_a_watch_nothing_is_recorded(monitored: MonitoredServer) -> None:
    """No sweep would ever remove the records."""
    monitor = ConnectionMonitor(
        InFlightRequests(),
        max_connections=lambda: LIMIT,
        stalled_seconds=STALLED_SECONDS,
        max_unsent_bytes=2**30,
        counters=Counters(),
    )
    connection = web.RequestHandler(monitored.server, loop=asyncio.get_running_loop())
    monitor.touch(connection)
    assert not monitor._recently_active
    watch = asyncio.create_task(monitor.watch(monitored.server))
    await asyncio.sleep(0)
    monitor.touch(connection)
    assert monitor._recently_active == {connection}
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    assert not monitor._recently_active


def test_models_that_may_be_loaded_leave_fewer_connections(tmp_path: Path) -> None:
    """The number of connections follows the settings while the gateway runs."""
    values = {
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
        "GATEWAY_CACHE_DIR": str(tmp_path),
        "GATEWAY_MAX_LOADED_MODELS": "1",
    }
    components = create_app(settings.load(values))[COMPONENTS]
    before = components.connections.max_connections()
    components.settings.value = settings.load(values | {"GATEWAY_MAX_LOADED_MODELS": "3"})
    assert components.connections.max_connections() == before - 2 * 16


async def test_too_many_unsent_bytes(monitored: MonitoredServer, caplog: pytest.LogCaptureFixture) -> None:
    """The slowest clients are closed until the unsent responses fit; the others get theirs whole."""
    slow = [await monitored.connect() for _ in range(5)]
    for number, client in enumerate(slow):
        client.pause()
        client.push(get("/large"))
        await until(lambda number=number: monitored.unsent() > (number + 0.5) * LARGE)  # type: ignore[misc] # mypy knows no default of a lambda
        monitored.now += 1
        if number < 3:
            await monitored.sweep(seconds=0)
    assert monitored.closed("send_buffer") == 0
    await monitored.sweep_until(lambda: monitored.closed("send_buffer") >= 1)
    assert "unsent responses exceed the limit" in caplog.text
    for _ in range(3):
        await monitored.sweep(seconds=0)
    assert monitored.closed("send_buffer") <= 2
    received = 0
    while received < LARGE:
        count = await slow[-1].take(2**20)
        assert count
        received += count
    async with asyncio.timeout(SECONDS):
        while await slow[0].take(2**20):
            pass


async def test_one_response_above_the_limit(monitored: MonitoredServer) -> None:
    """It is not closed, because a model may answer as much, and its client gets it whole."""
    client = await monitored.connect()
    client.pause()
    client.push(get("/huge"))
    await until(lambda: monitored.unsent() > 3 * LARGE)
    for _ in range(3):
        await monitored.sweep()
    assert monitored.closed("send_buffer") == 0
    received = 0
    while received < 4 * LARGE:
        count = await client.take(2**20)
        assert count
        received += count


async def test_a_response_that_is_read_slowly(monitored: MonitoredServer) -> None:
    """The connection stays open, though the whole takes longer than a stalled client is allowed."""
    client = await monitored.connect()
    client.pause()
    client.push(get("/large"))
    await until(lambda: monitored.unsent() > LARGE // 2)
    await monitored.sweep()
    for _ in range(6):
        before, received = monitored.unsent(), 0
        while received < 2 * PROGRESS or monitored.unsent() > before - PROGRESS:
            count = await client.take(PROGRESS)
            assert count
            received += count
        await monitored.sweep(seconds=0.75 * STALLED_SECONDS)
    assert monitored.now > 4 * STALLED_SECONDS
    assert monitored.closed("slow_reader") == 0
    assert await client.take(1)


async def test_a_response_that_is_read_byte_by_byte(monitored: MonitoredServer) -> None:
    """The connection is closed as if the client read nothing, or it would hold the response for hours."""
    client = await monitored.connect()
    client.pause()
    client.push(get("/large"))
    await until(lambda: monitored.unsent() > LARGE // 2)
    sweeps = 0
    while not monitored.closed("slow_reader"):
        assert await client.take(500)
        await monitored.sweep(seconds=STALLED_SECONDS / 4)
        sweeps += 1
        assert sweeps < 50


async def test_clients_that_keep_the_memory_for_answers(
    monitored: MonitoredServer, caplog: pytest.LogCaptureFixture
) -> None:
    """While another answer waits, a client that does not read its own is closed; one that reads is not."""
    stuck, reading = await monitored.connect(), await monitored.connect()
    for client in (stuck, reading):
        client.pause()
        client.push(get("/large"))
    await until(lambda: monitored.unsent() > LARGE)
    await monitored.sweep()
    before = monitored.unsent()
    while monitored.unsent() > before - 2 * PROGRESS:
        assert await reading.take(PROGRESS)
    await monitored.sweep(seconds=6.0)
    assert monitored.closed("send_buffer") == 0
    monitored.blocks = True
    await monitored.sweep()
    assert monitored.closed("send_buffer") == 1
    assert await reading.take(1)
    assert "the memory that others wait for" in caplog.text
