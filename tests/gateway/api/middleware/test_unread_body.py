"""Proves that a client gets the response to a refused body, also if it goes on sending."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway import settings
from gateway.api.middleware.unread_body import has_unread_body, send_before_body
from gateway.api.server_options import server_options
from tests.support.raw_clients import bare, head
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.typedefs import Handler

SECONDS = 60.0
PIECE = b" " * 100_000


class Server:
    """A server whose only route refuses a body with 408 as soon as its first bytes arrived."""

    def __init__(self, runner: web.AppRunner) -> None:
        assert runner.server is not None
        self.connections = runner.server
        self.url = "http://{}:{}".format(*runner.addresses[0][:2])

    @property
    def open_connections(self) -> int:
        return len(self.connections.connections)


@asynccontextmanager
async def refusing_server(*, lingering_time: float) -> AsyncIterator[Server]:
    @web.middleware
    async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if has_unread_body(request):
            await send_before_body(request, response)
        return response

    async def handle(request: web.Request) -> web.Response:
        await request.content.readany()
        return web.Response(status=408, body=b"too slow")

    app = web.Application(middlewares=[refuse])
    app.router.add_post("/", handle)
    options = {**server_options(settings.load({})), "lingering_time": lingering_time}
    runner = web.AppRunner(app, **options)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield Server(runner)
    finally:
        await runner.cleanup()


def test_the_servers_lingering_time() -> None:
    """It is set, since aiohttp's default holds the connection of a refused body for ten seconds."""
    assert 0 < server_options(settings.load({}))["lingering_time"] <= 2


@pytest.mark.parametrize("framing", ["Content-Length: 100000000", "Transfer-Encoding: chunked"])
async def test_a_client_that_keeps_sending(framing: str) -> None:
    """A client that sends on after the refusal, and reads only then, gets the whole response and no reset."""
    async with asyncio.timeout(SECONDS), refusing_server(lingering_time=SECONDS) as server:
        async with bare(server.url) as client:
            piece = b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if "chunked" in framing else PIECE
            await client.send(head("/", framing))
            for _ in range(100):  # ten megabytes, far more than the sockets' buffers hold
                assert await client.send(piece)
            response = await client.rest()
            assert response.startswith(b"HTTP/1.1 408 ")
            assert b"connection: close" in response.lower()
            assert response.endswith(b"too slow")
        await until(lambda: server.open_connections == 0)


async def test_a_client_that_stops_sending() -> None:
    """It sees the end of the response at once, though the server still waits for the body."""
    async with asyncio.timeout(SECONDS), refusing_server(lingering_time=2 * SECONDS) as server:
        async with bare(server.url) as client:
            await client.send(head("/", "Content-Length: 1000") + b" ")
            assert (await client.rest()).endswith(b"too slow")
            assert server.open_connections == 1
        await until(lambda: server.open_connections == 0)


async def test_a_client_that_never_closes() -> None:
    """The server closes the connection after its lingering time, however long the client sends."""
    async with asyncio.timeout(SECONDS), refusing_server(lingering_time=0.05) as server:
        async with bare(server.url) as client:
            sent = head("/", "Content-Length: 100000000")
            while await client.send(sent):
                sent = b" "
                await asyncio.sleep(0.01)
        await until(lambda: server.open_connections == 0)


async def test_a_body_that_was_read() -> None:
    """The connection stays open for the next request."""
    async with (
        asyncio.timeout(SECONDS),
        refusing_server(lingering_time=SECONDS) as server,
        bare(server.url) as client,
    ):
        for _ in range(2):
            await client.send(head("/", "Content-Length: 4") + b"body")
            assert b" 408 " in await client.answer_head()
