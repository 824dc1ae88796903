"""Proves that what is not valid HTTP gets an error in the usual form, without any byte of the request."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway import settings
from gateway.api.runner import GatewayRunner
from gateway.api.server_options import server_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECRET = b"s3cr3t"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
MALFORMED: dict[str, tuple[bytes, int]] = {
    "a long token": (GET + b"Authorization: Bearer " + SECRET * 10_000 + b"\r\n\r\n", 431),
    "a long URL": (b"GET /" + SECRET * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "no host": (b"GET / HTTP/1.1\r\nX-Key: s3cr3t\r\n\r\n", 400),
    "two lengths": (GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "no header": (GET + b"s3cr3t\r\n\r\n", 400),
    "a path that is not ASCII": (b"GET /s3cr3t\xc3\xa4 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01s3cr3t\r\n\r\n", 400),
}


@asynccontextmanager
async def connection() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Serve `ok` with the gateway's options, and connect."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = GatewayRunner(app, **server_options(settings.load({})), shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0])
        yield reader, writer
        writer.close()
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("name", list(MALFORMED))
async def test_the_form(name: str) -> None:
    """JSON with a code, a message and a request id, and the connection is closed."""
    request, status = MALFORMED[name]
    async with connection() as (reader, writer):
        writer.write(request)
        response = await reader.read()
    head, _, body = response.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert json.loads(body).keys() == {"error_code", "message", "request_id"}
    assert SECRET not in response


async def test_a_token_of_a_usual_size_is_read() -> None:
    """Tokens that name all groups of a user have tens of kilobytes."""
    async with connection() as (reader, writer):
        writer.write(GET + b"Authorization: Bearer " + b"x" * 30_000 + b"\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
