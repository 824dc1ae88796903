"""Proves that clients which are slow, or send too much at once, cost others nothing, and not for long."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestServer

from gateway.api.body.memory_limit import BODIES_REJECTED
from gateway.api.connections import CONNECTIONS_CLOSED
from gateway.api.keys import COMPONENTS
from tests.support.gateways import BODY, Gateway, gateway_at, invoke
from tests.support.raw_clients import LIVE, bare, head, light
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from tests.support.mlflow_server import MlflowServer
    from tests.support.raw_clients import Bare

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATH = "/model/api-sums/1/invocation"
MOST = 1_000_000
AT_ONCE = 3_000_000
UPLOAD_SECONDS = 2.0
IDLE_SECONDS = 3.0
LAG_SECONDS = 2.0
"""What a light client may wait beside an attack, on a machine that is busy with other things."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def strict(
    mlflow_server: MlflowServer, registered: list[str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """A gateway of little patience, with the sums warm."""
    values = {
        "GATEWAY_MAX_BODY_BYTES": str(MOST),
        "GATEWAY_MAX_BODIES_BYTES": str(AT_ONCE),
        "GATEWAY_UPLOAD_TIMEOUT_SECONDS": str(UPLOAD_SECONDS),
        "GATEWAY_IDLE_CONNECTION_SECONDS": str(IDLE_SECONDS),
    }
    async with gateway_at(mlflow_server.url, tmp_path_factory.mktemp("cache"), **values) as gateway:
        assert (await invoke(gateway, PATH))[0] == 200
        runner = gateway.server.runner
        assert runner is not None
        assert runner.server is not None
        watch = asyncio.create_task(app(gateway)[COMPONENTS].connections.watch(runner.server))
        yield gateway
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


def app(gateway: Gateway) -> web.Application:
    assert isinstance(gateway.server, TestServer)
    return gateway.server.app


def url(gateway: Gateway) -> str:
    return str(gateway.make_url("")).rstrip("/")


async def test_a_head_byte_by_byte(strict: Gateway) -> None:
    """The connection is closed in time, however busily the head goes on coming."""
    async with light(url(strict)) as other, bare(url(strict)) as client:
        ended = asyncio.create_task(client.rest())
        for byte in head(PATH, "X-Long: " + "x" * 5000):
            if ended.done() or not await client.send(bytes([byte])):
                break
            await asyncio.sleep(0.05)
        else:
            pytest.fail("a whole head was waited for")
        assert await ended == b""
    assert other.slowest < LAG_SECONDS


@pytest.mark.parametrize("asked", [b"", LIVE])
async def test_an_idle_connection(strict: Gateway, asked: bytes) -> None:
    """It is closed in time, whether it ever asked for anything or not."""
    async with bare(url(strict)) as client:
        await client.send(asked)
        assert (b" 200 " in await client.rest()) is bool(asked)


@pytest.mark.parametrize("length", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
async def test_a_body_byte_by_byte(strict: Gateway, length: str) -> None:
    """408 in our form, and the connection is closed; the model never hears of it."""
    refused = app(strict)[COMPONENTS].counters.value(BODIES_REJECTED, "slow")
    async with light(url(strict)) as other, bare(url(strict)) as client:
        await client.send(head(PATH, length))
        answer = asyncio.create_task(client.rest())
        for _ in range(1000):
            if answer.done() or not await client.send(b"1\r\n1\r\n" if "chunked" in length else b"1"):
                break
            await asyncio.sleep(0.05)
        lines, _, body = (await answer).partition(b"\r\n\r\n")
    assert lines.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in lines.lower()
    error = json.loads(body)
    assert (error["error_code"], set(error)) == ("DEADLINE_EXCEEDED", {"error_code", "message", "request_id"})
    assert app(strict)[COMPONENTS].counters.value(BODIES_REJECTED, "slow") == refused + 1
    assert other.slowest < LAG_SECONDS


async def test_an_endless_chunked_body(strict: Gateway) -> None:
    """413 as soon as it is too large; no more of it is kept than a body may have."""
    piece = b"%x\r\n%b\r\n" % (50_000, b"1" * 50_000)
    async with light(url(strict)) as other, bare(url(strict)) as client:
        await client.send(head(PATH, "Transfer-Encoding: chunked"))
        answer = asyncio.create_task(client.status())
        most = 0
        while not answer.done() and await client.send(piece):
            most = max(most, app(strict)[COMPONENTS].body_memory.reserved_bytes)
            await asyncio.sleep(0)
        assert await answer == 413
    assert most <= MOST
    assert app(strict)[COMPONENTS].body_memory.reserved_bytes == 0
    assert other.slowest < LAG_SECONDS


async def test_an_answer_that_nobody_takes(strict: Gateway) -> None:
    """The connection is ended in time, though thousands of requests wait in it."""
    tally = app(strict)[COMPONENTS].counters
    ended = tally.value(CONNECTIONS_CLOSED, "stalled")
    async with light(url(strict)) as other, bare(url(strict)) as client:
        client.pause()
        client.push(LIVE.replace(b"/health/live", b"/openapi.json") * 2000)
        await until(lambda: tally.value(CONNECTIONS_CLOSED, "stalled") == ended + 1)
    assert other.slowest < LAG_SECONDS


async def test_an_answer_that_is_taken_byte_by_byte(strict: Gateway) -> None:
    """It is as if nobody took it: what is held for it would be held for hours."""
    tally = app(strict)[COMPONENTS].counters
    ended = tally.value(CONNECTIONS_CLOSED, "stalled")
    address = strict.make_url("")
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, (address.host, address.port))
        await loop.sock_sendall(client, LIVE.replace(b"/health/live", b"/openapi.json") * 200)
        async with asyncio.timeout(60):
            while tally.value(CONNECTIONS_CLOSED, "stalled") == ended:
                with suppress(ConnectionResetError):
                    await loop.sock_recv(client, 500)
                await asyncio.sleep(0.1)


async def test_an_answer_that_is_taken_slowly(strict: Gateway) -> None:
    """It is left alone, though it takes longer than any pause may last."""
    ended = app(strict)[COMPONENTS].counters.value(CONNECTIONS_CLOSED, "stalled")
    async with bare(url(strict)) as client:
        client.pause()
        client.push(LIVE.replace(b"/health/live", b"/openapi.json") * 1000)
        taken = 0
        for _ in range(int(4 * IDLE_SECONDS)):
            taken += await client.take(1_000_000)
            await asyncio.sleep(0.5)
        assert taken > 1_000_000
        assert await client.take(1)
    assert app(strict)[COMPONENTS].counters.value(CONNECTIONS_CLOSED, "stalled") == ended


async def hold(gateway: Gateway, stack: AsyncExitStack) -> list[Bare]:
    """Clients that have sent nearly all of as many bodies as fit, and keep the rest to themselves."""
    clients = [await stack.enter_async_context(bare(url(gateway))) for _ in range(3)]
    for client in clients:
        await client.send(head(PATH, f"Content-Length: {MOST}") + b" " * (MOST - 1000))
    await until(lambda: app(gateway)[COMPONENTS].body_memory.reserved_bytes == 3 * (MOST - 1000))
    return clients


@pytest.mark.parametrize(
    ("more", "sent"),
    [
        ([f"Content-Length: {MOST}"], b""),
        (["Transfer-Encoding: chunked"], b"%x\r\n%b\r\n" % (50_000, b" " * 50_000)),
        (["Content-Encoding: gzip", "Transfer-Encoding: chunked"], None),
    ],
)
async def test_bodies_at_once(strict: Gateway, more: list[str], sent: bytes | None) -> None:
    """Once there are as many bytes as allowed, 503 for more of them; small bodies are served on."""
    if sent is None:
        packed = gzip.compress(b" " * 900_000)
        sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed)
    async with AsyncExitStack() as stack:
        holding = await hold(strict, stack)
        async with bare(url(strict)) as client:
            await client.send(head(PATH, *more) + sent)
            answer = await client.answer_head()
            assert b" 503 " in answer.splitlines()[0]
            assert b"retry-after: 1" in answer.lower()
        assert (await invoke(strict, PATH, BODY))[0] == 200
        for client in holding:
            client.vanish()
        await until(lambda: app(strict)[COMPONENTS].body_memory.reserved_bytes == 0)
    assert (await invoke(strict, PATH, BODY + b" " * 900_000))[0] == 200
    assert app(strict)[COMPONENTS].body_memory.reserved_bytes == 0
