"""Proves that a name or version that MLflow rejects is not found, on every route."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support.raw_clients import bare

if TYPE_CHECKING:
    from tests.support.gateways import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")

NAMES = [
    "%2e", "%2e%2e", "%20", "%09", "%2F", "a%2Fb", "a%3Ab", "%2e%2e%2Fx", "%2e%2fx", "%00", "a%00b", "a%01b",
    "a%0Ab", "%0D%0A", "%7F", "%FF", "%ED%A0%80", "%EF%BF%BF", "%E2%80%AE", "%25", "%27", "%5C", "%252e%252e",
    "..x", "x" * 6000, "%E2%98%83" * 800,
]  # fmt: skip
ROUTES = [
    "GET /model/{}", "GET /model/{}/1", "GET /model/{}/latest", "GET /model/{}/best?metric=rmse",
    "GET /model/{}/@champion", "GET /model/{}/m-0123", f"GET /model/{{}}/{'0' * 32}",
    "POST /model/{}/1/invocation", "POST /model/{}/invocation/latest", "POST /models/{}/best/invocation",
    "GET /v2/models/{}", "GET /v2/models/{}/versions/1/ready", "POST /v2/models/{}/infer",
    "POST /v2/repository/models/{}/load", "POST /v2/repository/models/{}/unload",
]  # fmt: skip


async def send(gateway: Gateway, line: str, body: bytes = b"{}") -> tuple[int, bytes]:
    """Send a request with exactly this line; return the status and the body of the response."""
    text = f"{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    async with bare(str(gateway.make_url("/"))) as connection:
        await connection.send(
            f"{text}Accept-Encoding: identity\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        status = await connection.status()
        return status, await connection.rest()


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:12])
async def test_no_such_model(gateway: Gateway, name: str) -> None:
    """404 on each route that takes a name."""
    for route in ROUTES:
        status, body = await send(gateway, route.format(name))
        assert (route, status) == (route, 404), body


@pytest.mark.parametrize(
    "version",
    ["%2e%2e", "%00", "%FF", "01", "m-", "m-%00", "m-%2e%2e", "m-" + "x" * 200, "m-0123", "0" * 32, "F" * 32,
     "@", "@%00", "@a%2Fb", "%40nothing"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["api-sums", "api%2Fforest"])
async def test_no_such_version(gateway: Gateway, name: str, version: str) -> None:
    """404 for a registered model and for an experiment."""
    for line in (f"GET /model/{name}/{version}", f"POST /v2/models/{name}/versions/{version}/infer"):
        status, body = await send(gateway, line)
        assert (line, status) == (line, 404), body


@pytest.mark.parametrize(
    "query",
    ["filter=%00", "filter=%FF", "filter=%ED%A0%80", "filter=%27%20OR%201%3D1", "filter=%25%5C%3B--",
     "filter=" + "x" * 6000],
)  # fmt: skip
async def test_an_odd_filter_finds_nothing(gateway: Gateway, query: str) -> None:
    """It is compared with names as it is."""
    status, body = await send(gateway, f"GET /model?{query}")
    assert (status, orjson.loads(body)) == (200, {"models": []})
