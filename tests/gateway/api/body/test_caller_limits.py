"""Proves that a caller's own limit for bodies counts, before, while and after they are read."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.support.gateways import BODY, Gateway, gateway_for, invoke
from tests.support.principals import principal
from tests.support.raw_clients import bare, head

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATH = "/model/api-sums/1/invocation"
CALLERS = {
    "small": principal("small", max_body_bytes=200),
    "large": principal("large", max_body_bytes=10**9),
    "none": principal("none"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateway(
    mlflow_server: MlflowServer, registered: list[str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """A gateway with a limit for all, and callers with limits of their own."""
    cache, values = tmp_path_factory.mktemp("cache"), {"GATEWAY_MAX_BODY_BYTES": "1000000"}
    async with gateway_for(CALLERS, mlflow_server.url, cache, **values) as client:
        yield client


@pytest.mark.parametrize(
    ("caller", "size", "limit"),
    [
        ("small", 201, "200 bytes for this caller"),
        ("small", 900_000, "200 bytes for this caller"),
        ("large", 1_000_001, "1000000 bytes."),
        ("none", 1_000_001, "1000000 bytes."),
    ],
)
@pytest.mark.parametrize("how", ["plain", "gzip", "chunked"])
async def test_the_lower_limit_counts(gateway: Gateway, caller: str, size: int, limit: str, how: str) -> None:
    """With and without a Content-Length, and also if only the decompressed body is too large."""
    body = BODY.ljust(size)
    headers = {"X-Caller": caller, "Content-Type": "application/json"}
    if how == "gzip":
        body, headers["Content-Encoding"] = gzip.compress(body, mtime=0), "gzip"

    async def chunks() -> AsyncIterator[bytes]:
        yield body[:100]
        yield body[100:]

    data = chunks() if how == "chunked" else body
    async with gateway.post(PATH, data=data, headers=headers) as response:
        error = await response.json()
        assert (response.status, error["error_code"]) == (413, "RESOURCE_LIMIT_EXCEEDED")
        assert limit in error["message"]


@pytest.mark.parametrize(("caller", "size"), [("small", 200), ("large", 1_000_000), ("none", 1_000_000)])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_a_body_of_exactly_the_limit_is_read(
    gateway: Gateway, caller: str, size: int, encoding: str
) -> None:
    """The limit itself is allowed."""
    body = BODY.ljust(size)
    body = gzip.compress(body, mtime=0) if encoding == "gzip" else body
    headers = {"X-Caller": caller, "Content-Encoding": encoding}
    assert (await invoke(gateway, PATH, body, **headers))[0] == 200


@pytest.mark.parametrize("v2", [False, True])
async def test_a_length_beyond_the_limit_is_refused_before_the_body(gateway: Gateway, *, v2: bool) -> None:
    """A client that has sent nothing gets the refusal, also one that asks whether it should go on."""
    path = "/v2/models/api-sums/versions/1/infer" if v2 else PATH
    for more in ((), ("Expect: 100-continue",)):
        async with bare(str(gateway.make_url("")).rstrip("/")) as client:
            await client.send(head(path, "X-Caller: small", "Content-Length: 201", *more))
            answer = await client.answer_head()
            assert b" 413 " in answer.split(b"\r\n")[0]
            assert b"\r\nconnection: close" in answer.lower()


async def test_one_who_asks_first_is_told_to_send_what_is_allowed(gateway: Gateway) -> None:
    """100 comes once the headers are found to be in order, and then the response."""
    async with bare(str(gateway.make_url("")).rstrip("/")) as client:
        await client.send(head(PATH, "X-Caller: small", "Content-Length: 200", "Expect: 100-continue"))
        assert await client.status() == 100
        await client.send(BODY.ljust(200))
        assert await client.status() == 200
    async with bare(str(gateway.make_url("")).rstrip("/")) as client:
        wrong = ("Content-Length: 200", "Expect: 100-continue", "Content-Encoding: x")
        await client.send(head(PATH, "X-Caller: small", *wrong))
        assert await client.status() == 415
