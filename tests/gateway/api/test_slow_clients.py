"""Proves that clients which are slow, or send too much at once, neither block other clients nor stay long."""

from __future__ import annotations

import asyncio
import gzip
import json
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from gateway.api.body.memory_limit import BODIES_REJECTED
from gateway.api.connections import CONNECTIONS_CLOSED
from gateway.api.keys import COMPONENTS, Components
from tests.support.gateways import BODY, Gateway, gateway_at, invoke
from tests.support.raw_clients import LIVE, SECONDS, bare, head, light
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.mlflow_server import MlflowServer
    from tests.support.raw_clients import Bare

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATH = "/model/api-sums/1/invocation"
MAX_BODY_BYTES = 1_000_000
MAX_BODIES_BYTES = 3_000_000
UPLOAD_SECONDS = 0.2
IDLE_SECONDS = 0.5
LAG_SECONDS = 2.0
"""How long another client may wait for its response; only tests marked `serial` assert it."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def strict(
    mlflow_server: MlflowServer, registered: list[str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """A gateway with small limits for bodies and idle connections, and with the model loaded."""
    values = {
        "GATEWAY_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
        "GATEWAY_MAX_BODIES_BYTES": str(MAX_BODIES_BYTES),
        "GATEWAY_IDLE_CONNECTION_SECONDS": str(IDLE_SECONDS),
    }
    async with gateway_at(mlflow_server.url, tmp_path_factory.mktemp("cache"), **values) as gateway:
        assert (await invoke(gateway, PATH))[0] == 200
        assert gateway.server.runner is not None
        assert gateway.server.runner.server is not None
        watch = asyncio.create_task(components(gateway).connections.watch(gateway.server.runner.server))
        yield gateway
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


def components(gateway: Gateway) -> Components:
    return gateway.app[COMPONENTS]


def url(gateway: Gateway) -> str:
    return str(gateway.make_url("")).rstrip("/")


@contextmanager
def short_upload_timeout(gateway: Gateway) -> Iterator[None]:
    """Change the setting for the uploads that start meanwhile."""
    current = components(gateway).settings
    before = current.value
    current.value = before.model_copy(update={"upload_timeout_seconds": UPLOAD_SECONDS})
    try:
        yield
    finally:
        current.value = before


@pytest.mark.serial
async def test_a_head_byte_by_byte(strict: Gateway) -> None:
    """The connection is closed, although bytes of the head keep coming; measures another client's wait."""
    async with light(url(strict)) as other, bare(url(strict)) as client:
        closed = asyncio.create_task(client.rest())
        for byte in head(PATH, "X-Long: " + "x" * 5000):
            if closed.done() or not await client.send(bytes([byte])):
                break
            await asyncio.sleep(0.02)
        else:
            pytest.fail("the gateway waited for the whole head")
        assert await closed == b""
    assert other.slowest < LAG_SECONDS


@pytest.mark.parametrize("sent", [b"", LIVE], ids=["no request", "one request"])
async def test_an_idle_connection(strict: Gateway, sent: bytes) -> None:
    """It is closed in time, whether or not it had a request."""
    async with bare(url(strict)) as client:
        await client.send(sent)
        assert (b" 200 " in await client.rest()) is bool(sent)


@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
async def test_a_body_byte_by_byte(strict: Gateway, framing: str) -> None:
    """A client that keeps sending gets 408 as JSON and the end of the connection; the model gets nothing."""
    counters = components(strict).counters
    before = counters.value(BODIES_REJECTED, "timeout")
    piece = b"1\r\n1\r\n" if "chunked" in framing else b"1"
    async with bare(url(strict)) as client:
        with short_upload_timeout(strict):
            await client.send(head(PATH, framing) + piece)
            response = asyncio.create_task(client.rest())
            async with asyncio.timeout(SECONDS):
                while not response.done() and await client.send(piece):  # noqa: ASYNC110 - the pace of the client
                    await asyncio.sleep(0.02)
        lines, _, body = (await response).partition(b"\r\n\r\n")
    assert lines.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in lines.lower()
    error = json.loads(body)
    assert (error["error_code"], set(error)) == ("DEADLINE_EXCEEDED", {"error_code", "message", "request_id"})
    assert counters.value(BODIES_REJECTED, "timeout") == before + 1


async def test_a_client_that_sends_on_before_it_reads(strict: Gateway) -> None:
    """It gets the 408 although it sent more after the upload timed out, and its connection ends then."""
    counters = components(strict).counters
    before = counters.value(BODIES_REJECTED, "timeout")
    async with bare(url(strict)) as client:
        with short_upload_timeout(strict):
            await client.send(head(PATH, "Content-Length: 900000") + b"1")
            await until(lambda: counters.value(BODIES_REJECTED, "timeout") == before + 1)
        for _ in range(8):
            assert await client.send(b"1" * 100_000)
        assert (await client.rest()).startswith(b"HTTP/1.1 408 ")
    await until(lambda: components(strict).in_flight.count == 0)


@pytest.mark.serial
@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
async def test_others_beside_a_slow_upload(strict: Gateway, framing: str) -> None:
    """Measures how long another client waits while a body arrives byte by byte."""
    piece = b"1\r\n1\r\n" if "chunked" in framing else b"1"
    async with light(url(strict)) as other, bare(url(strict)) as client:
        with short_upload_timeout(strict):
            await client.send(head(PATH, framing) + piece)
            status = asyncio.create_task(client.status())
            while not status.done() and await client.send(piece):  # noqa: ASYNC110 - the pace of the client
                await asyncio.sleep(0.02)
        assert await status == 408
    assert other.slowest < LAG_SECONDS


@pytest.mark.serial
async def test_an_endless_chunked_body(strict: Gateway) -> None:
    """413 as soon as the body is too large, and no more of it is held; measures another client's wait."""
    body_memory = components(strict).body_memory
    piece = b"%x\r\n%b\r\n" % (50_000, b"1" * 50_000)
    async with light(url(strict)) as other, bare(url(strict)) as client:
        await client.send(head(PATH, "Transfer-Encoding: chunked"))
        status = asyncio.create_task(client.status())
        most = 0
        while not status.done() and await client.send(piece):
            most = max(most, body_memory.reserved_bytes)
            await asyncio.sleep(0)
        assert await status == 413
    assert most <= MAX_BODY_BYTES
    assert body_memory.reserved_bytes == 0
    assert other.slowest < LAG_SECONDS


@pytest.mark.serial
async def test_responses_that_the_client_does_not_read(strict: Gateway) -> None:
    """The connection is closed, with thousands of requests waiting; measures another client's wait."""
    counters = components(strict).counters
    before = counters.value(CONNECTIONS_CLOSED, "slow_reader")
    async with light(url(strict)) as other, bare(url(strict)) as client:
        client.pause()
        client.push(LIVE.replace(b"/health/live", b"/openapi.json") * 2000)
        await until(lambda: counters.value(CONNECTIONS_CLOSED, "slow_reader") == before + 1)
    assert other.slowest < LAG_SECONDS


async def fill_body_memory(gateway: Gateway, stack: AsyncExitStack) -> list[Bare]:
    """Return clients that have sent nearly all of the largest bodies that fit, and keep back the rest."""
    clients = [await stack.enter_async_context(bare(url(gateway))) for _ in range(3)]
    for client in clients:
        await client.send(head(PATH, f"Content-Length: {MAX_BODY_BYTES}") + b" " * (MAX_BODY_BYTES - 1000))
    await until(lambda: components(gateway).body_memory.reserved_bytes == 3 * (MAX_BODY_BYTES - 1000))
    return clients


@pytest.mark.parametrize("kind", ["length", "chunked", "compressed"])
async def test_bodies_at_once(strict: Gateway, kind: str) -> None:
    """503 for further bodies once the memory for bodies is used up; small bodies are still served."""
    packed = gzip.compress(b" " * 900_000, mtime=0)
    headers, sent = {
        "length": ([f"Content-Length: {MAX_BODY_BYTES}"], b""),
        "chunked": (["Transfer-Encoding: chunked"], b"%x\r\n%b\r\n" % (50_000, b" " * 50_000)),
        "compressed": (
            ["Content-Encoding: gzip", "Transfer-Encoding: chunked"],
            b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed),
        ),
    }[kind]
    body_memory = components(strict).body_memory
    async with AsyncExitStack() as stack:
        others = await fill_body_memory(strict, stack)
        async with bare(url(strict)) as client:
            await client.send(head(PATH, *headers) + sent)
            response = await client.answer_head()
            assert b" 503 " in response.splitlines()[0]
            assert b"retry-after: 1" in response.lower()
        assert (await invoke(strict, PATH, BODY))[0] == 200
        for other in others:
            other.vanish()
        await until(lambda: body_memory.reserved_bytes == 0)
    assert (await invoke(strict, PATH, BODY + b" " * 900_000))[0] == 200
    assert body_memory.reserved_bytes == 0
