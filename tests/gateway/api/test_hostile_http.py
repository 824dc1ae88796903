"""Proves that hostile HTTP is rejected, takes little memory, and does not delay other clients."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psutil
import pytest
import pytest_asyncio

from tests.support.gateways import BODY, Gateway, gateway_at, invoke
from tests.support.raw_clients import LIVE, SECONDS, bare, head, light

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATH = "/model/api-sums/1/invocation"
LAG_SECONDS = 2.0  # that another client may wait; only tests marked `serial` assert it
ENOUGH = 64 * 2**20
MAX_GROWTH = 48 * 2**20
"""How much the process may grow while a client sends more than that."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def loaded(
    mlflow_server: MlflowServer, registered: list[str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """A gateway with the model loaded and a short upload time-out, which ends endless chunks and trailers."""
    cache = tmp_path_factory.mktemp("cache")
    async with gateway_at(mlflow_server.url, cache, GATEWAY_UPLOAD_TIMEOUT_SECONDS="1") as gateway:
        assert (await invoke(gateway, PATH))[0] == 200
        yield gateway


def get(*headers: str) -> bytes:
    return "\r\n".join(["GET /health/live HTTP/1.1", "Host: x", *headers, "", ""]).encode()


WHOLE = {
    "a thousand headers": (get(*(f"X-{n}: y" for n in range(1000))), 400),
    "a header of a megabyte": (get("X-Long: " + "y" * 2**20), 431),
    "a header's name of a megabyte": (get("X" * 2**20 + ": y"), 431),
    "a line of a megabyte": (LIVE.replace(b"/live", b"/" + b"x" * 2**20), 414),
    "a name with a space": (get("X Y: z"), 400),
    "a name with a zero": (get("X\0: z"), 400),
    "a value with a zero": (get("X: \0"), 400),
    "no name": (get(": y"), 400),
    "a folded header": (get("X: y\r\n z"), 400),
    "two hosts": (get("Host: y"), 400),
    "both lengths": (head(PATH, "Content-Length: 3", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "two lengths": (head(PATH, "Content-Length: 3", "Content-Length: 4") + b"abcd", 400),
    "a length below nothing": (head(PATH, "Content-Length: -1"), 400),
    "a length with a plus": (head(PATH, "Content-Length: +1") + b"1", 400),
    "a length that is none": (head(PATH, "Content-Length: 1e3"), 400),
    "a length beyond 64 bits": (head(PATH, "Content-Length: " + "9" * 30), 400),
    "a length beyond any body": (head(PATH, f"Content-Length: {2**60}"), 413),
    "an encoding of its own": (head(PATH, "Transfer-Encoding: gzip") + b"x", 400),
    "a chunk beyond 64 bits": (head(PATH, "Transfer-Encoding: chunked") + b"F" * 20 + b"\r\n", 400),
    "a chunk below nothing": (head(PATH, "Transfer-Encoding: chunked") + b"-1\r\n", 400),
    "a chunk of no number": (head(PATH, "Transfer-Encoding: chunked") + b"xyz\r\n", 400),
    "a chunk that does not end": (head(PATH, "Transfer-Encoding: chunked") + b"1\r\nabc\r\n", 400),
}


@pytest.mark.parametrize("what", WHOLE)
async def test_invalid_requests(loaded: Gateway, what: str) -> None:
    """The response is a 4xx, the connection is closed, and the next client is served."""
    sent, status = WHOLE[what]
    url = str(loaded.make_url("")).rstrip("/")
    async with bare(url) as client:
        client.push(sent)
        lines = (await client.rest()).splitlines() or [b"closed"]
    assert lines[0] == b"closed" or lines[0].split(b" ")[1] == b"%d" % status, lines[:1]
    assert lines[0] != b"closed" or len(sent) > 10_000  # a reset may destroy the response to a long request
    assert (await invoke(loaded, PATH, BODY))[0] == 200


CHUNKED = head(PATH, "Transfer-Encoding: chunked")
ENDLESS = {
    "a line": (b"GET /", b"x" * 2**16),
    "a header": (b"GET / HTTP/1.1\r\nX: ", b"x" * 2**16),
    "a header's name": (b"GET / HTTP/1.1\r\n", b"x" * 2**16),
    "headers": (b"GET / HTTP/1.1\r\n", b"X: y\r\n" * 10_000),
    "a chunk's extension": (CHUNKED + b"1;", b"x" * 2**16),
    "a chunk's size": (CHUNKED, b"0" * 2**16),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n" * 10_000),
    "empty lines": (b"", b"\r\n" * 2**15),
}


@pytest.mark.serial
@pytest.mark.parametrize("what", ENDLESS)
async def test_endless_requests(loaded: Gateway, what: str) -> None:
    """They are neither read for long nor kept; measures the process' memory and another client's wait."""
    begin, more = ENDLESS[what]
    url = str(loaded.make_url("")).rstrip("/")
    process = psutil.Process()
    before = process.memory_info().rss
    async with light(url) as other, bare(url) as client:
        response = asyncio.create_task(client.answer_head())
        await client.send(begin)
        sent, most = 0, before
        while not response.done() and sent < ENOUGH and await client.send(more):
            sent += len(more)
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(0)
        if what == "empty lines":
            assert sent >= ENOUGH  # HTTP allows them before a request, and they cost nothing
        else:
            assert (await response).split(b" ")[1] in {b"400", b"408", b"413", b"414", b"431", b"0"}
        response.cancel()
    assert most - before < MAX_GROWTH
    assert other.slowest < LAG_SECONDS
    assert (await invoke(loaded, PATH, BODY))[0] == 200


@pytest.mark.serial
async def test_ten_thousand_requests_at_once(loaded: Gateway) -> None:
    """Pipelined on one connection, all are answered in order; measures another client's wait."""
    url = str(loaded.make_url("")).rstrip("/")
    number = 10_000
    async with light(url) as other, bare(url) as client:
        client.push(LIVE * (number - 1) + LIVE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        responses = await client.rest(4 * SECONDS)
    assert responses.count(b"HTTP/1.1 200 ") == number
    assert other.slowest < LAG_SECONDS
