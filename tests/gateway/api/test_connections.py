"""Proves which connections are closed where there are too many."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway import settings
from gateway.api import connections
from gateway.api.connections import CONNECTIONS_CLOSED, ConnectionMonitor
from gateway.api.inflight import InFlightRequests
from gateway.api.keys import COMPONENTS
from gateway.app import create_app
from tests.support.raw_clients import LIVE, Bare, bare
from tests.support.waiting import until
from workers.metrics import Counters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiohttp.typedefs import Handler

MOST = 8
LARGE = 16 * 2**20  # of which sockets hold a part only


class Crowded:
    """A server that bears so many connections, and the clients of it."""

    def __init__(self, runner: web.AppRunner, stack: AsyncExitStack) -> None:
        assert runner.server is not None
        self.server = runner.server
        self.tally = Counters()
        self.held = asyncio.Event()
        self.drain = InFlightRequests()
        self.connections = ConnectionMonitor(
            self.drain,
            max_connections=lambda: MOST,
            stalled_seconds=60,
            max_unsent_bytes=3 * LARGE,
            counters=self.tally,
        )
        self.port = 0
        self._stack = stack

    @property
    def closed(self) -> int:
        return self.tally.value(CONNECTIONS_CLOSED, "crowded")

    async def connect(self) -> Bare:
        before = len(self.server.connections)
        client = await self._stack.enter_async_context(bare(f"http://127.0.0.1:{self.port}"))
        await until(lambda: len(self.server.connections) > before)
        return client


@pytest.fixture
async def crowded(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Crowded]:
    """Looked after ten times a second, in slices of three; `/held` is answered once `held` is set."""
    monkeypatch.setattr(connections, "_SWEEP_SECONDS", 0.1)
    monkeypatch.setattr(connections, "_SWEEP_SLICE_CONNECTIONS", 3)

    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        found.drain.add(request.protocol)
        try:
            return await handler(request)
        finally:
            found.drain.remove(request.protocol)
            found.connections.touch(request.protocol)

    async def live(_: web.Request) -> web.Response:
        return web.Response()

    async def held(_: web.Request) -> web.Response:
        await found.held.wait()
        return web.Response()

    async def large(_: web.Request) -> web.Response:
        return web.Response(body=bytes(LARGE))

    async def huge(_: web.Request) -> web.Response:
        return web.Response(body=bytes(4 * LARGE))

    app = web.Application(middlewares=[around])
    app.router.add_get("/health/live", live)
    app.router.add_get("/held", held)
    app.router.add_get("/large", large)
    app.router.add_get("/huge", huge)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with AsyncExitStack() as stack:
        found = Crowded(runner, stack)
        found.port = runner.addresses[0][1]
        watch = asyncio.create_task(found.connections.watch(found.server))
        yield found
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
    await runner.cleanup()


async def test_the_longest_idle_go(crowded: Crowded, caplog: pytest.LogCaptureFixture) -> None:
    """First those that never asked, the oldest first; one with a request in hand stays; it is told once."""
    caplog.set_level(logging.WARNING)
    asked, busy = await crowded.connect(), await crowded.connect()
    await asked.send(LIVE)
    assert await asked.status() == 200
    await busy.send(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.3)  # so that these were seen before
    silent = [await crowded.connect() for _ in range(MOST)]
    await until(lambda: crowded.closed == 2)
    gone = [asyncio.create_task(client.rest()) for client in silent]
    await until(lambda: sum(each.done() for each in gone) == 2)
    more = [await crowded.connect() for _ in range(MOST)]
    await until(lambda: crowded.closed == 2 + MOST)
    assert len(more) == MOST
    await asked.send(LIVE)
    assert await asked.status() == 200
    crowded.held.set()
    assert await busy.status() == 200
    for each in (*silent, *more):
        each.vanish()
    await asyncio.gather(*gone)
    await until(lambda: len(caplog.messages) == 2)
    assert caplog.messages[0].endswith("as many as descriptors allow: the longest idle ones are closed")
    assert caplog.messages[1] == f"connections are few enough again; {2 + MOST} idle ones were closed"


async def test_nobody_is_closed_for_a_few(crowded: Crowded) -> None:
    """As many as there may be stay, however long."""
    clients = [await crowded.connect() for _ in range(MOST)]
    await asyncio.sleep(0.5)
    for client in clients:
        await client.send(LIVE)
        assert await client.status() == 200
    assert crowded.closed == 0


async def test_nothing_is_noted_where_nobody_watches(crowded: Crowded) -> None:
    """It would be kept for ever."""
    alone = ConnectionMonitor(
        InFlightRequests(),
        max_connections=lambda: MOST,
        stalled_seconds=60,
        max_unsent_bytes=2**30,
        counters=Counters(),
    )
    connection = web.RequestHandler(crowded.server, loop=asyncio.get_running_loop())
    alone.touch(connection)
    assert not alone._recently_active
    watch = asyncio.create_task(alone.watch(crowded.server))
    await asyncio.sleep(0)
    alone.touch(connection)
    assert alone._recently_active == {connection}
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    assert not alone._recently_active


def test_models_that_may_be_loaded_leave_fewer_connections(tmp_path: Path) -> None:
    """Also where their number is changed while the gateway runs."""
    values = {"GATEWAY_CACHE_DIR": str(tmp_path), "GATEWAY_MAX_LOADED_MODELS": "1"}
    app = create_app(settings.load(values))
    most = app[COMPONENTS].connections._max_connections
    before = most()
    app[COMPONENTS].settings.value = settings.load(values | {"GATEWAY_MAX_LOADED_MODELS": "3"})
    assert most() == before - 2 * 16


async def test_answers_that_nobody_takes(crowded: Crowded, caplog: pytest.LogCaptureFixture) -> None:
    """Where they are too many bytes together the slowest clients go; the others get theirs whole."""
    slow = [await crowded.connect() for _ in range(5)]
    for client in slow:
        client.pause()
        client.push(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.2)
    await until(lambda: crowded.tally.value(CONNECTIONS_CLOSED, "unsent") >= 1)
    assert "too many bytes" in caplog.text
    await asyncio.sleep(0.3)
    ended = crowded.tally.value(CONNECTIONS_CLOSED, "unsent")
    assert ended <= 2
    taken = 0
    while taken < LARGE:
        more = await slow[-1].take(2**20)
        assert more
        taken += more
    async with asyncio.timeout(10):
        while await slow[0].take(2**20):
            pass


async def test_one_answer_may_be_larger_than_all_may_be(crowded: Crowded) -> None:
    """It is what its model answers, and its client takes it."""
    client = await crowded.connect()
    client.pause()
    client.push(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.5)
    assert crowded.tally.value(CONNECTIONS_CLOSED, "unsent") == 0
    taken = 0
    while taken < 4 * LARGE:
        more = await client.take(2**20)
        assert more
        taken += more
