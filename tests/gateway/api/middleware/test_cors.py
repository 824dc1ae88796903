"""Proves that pages of allowed origins may call the gateway and read what it answers, and no others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.support.gateways import BODY, Gateway, gateway_at
from tests.support.web_pages import EXCHANGES, SUMS, example_routes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp
    from multidict import CIMultiDictProxy

    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

APP = "https://app.example.org"
LOCAL = "http://localhost:3000"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}
FOREIGN = [
    "https://attacker.example",
    "null",
    "http://app.example.org",
    "https://app.example.org:8443",
    "https://app.example.org.evil",
    "https://xapp.example.org",
    "https://APP.example.org",
    "https://app.example.org/",
    "",
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def open_gateway(
    mlflow_server: MlflowServer, registered: list[str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """A gateway that two origins may call."""
    cache = tmp_path_factory.mktemp("cache")
    values = {"GATEWAY_ALLOWED_ORIGINS": f"{APP}:443,{LOCAL}", "GATEWAY_MAX_BODY_BYTES": "1000000"}
    async with gateway_at(mlflow_server.url, cache, **values) as client:
        yield client


def cors_headers(headers: CIMultiDictProxy[str]) -> set[str]:
    return {name for name in headers if name.startswith("Access-Control-")}


def vary(answer: aiohttp.ClientResponse) -> set[str]:
    return {word.strip() for line in answer.headers.getall("Vary", []) for word in line.split(",")}


@pytest.mark.parametrize("origin", [APP, LOCAL])
async def test_preflights_of_an_allowed_origin(open_gateway: Gateway, origin: str) -> None:
    """They are answered for every route, and for what is none, before anything asks for credentials."""
    for path in {path for _, path in example_routes()} | {"/nowhere"}:
        async with open_gateway.options(path, headers={"Origin": origin, **PREFLIGHT}) as answer:
            assert (answer.status, await answer.read()) == (204, b"")
            headers = answer.headers
        assert headers["Access-Control-Allow-Origin"] == origin
        assert headers["Access-Control-Allow-Methods"] == "GET, HEAD, POST"
        allowed = headers["Access-Control-Allow-Headers"].lower().split(", ")
        assert {"authorization", "content-type", "x-api-key", "inference-header-content-length"} <= set(
            allowed
        )
        assert headers["Access-Control-Max-Age"] == "600"
        assert "Access-Control-Allow-Credentials" not in headers
        assert vary(answer) == {"Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"}
        assert "Content-Type" not in headers
        assert "Content-Length" not in headers


@pytest.mark.parametrize("origin", FOREIGN)
async def test_preflights_of_another_origin(open_gateway: Gateway, gateway: Gateway, origin: str) -> None:
    """They are refused, with no header that would let the browser go on."""
    for client in (open_gateway, gateway):
        for path in (SUMS, "/model", "/v2/repository/index", "/docs", "/nowhere", "/health/live"):
            async with client.options(path, headers={"Origin": origin, **PREFLIGHT}) as answer:
                assert answer.status == 403
                assert cors_headers(answer.headers) == set()
                error = await answer.json()
            assert ("error_code" in error) is not path.startswith("/v2")


async def test_options_that_are_no_preflights(open_gateway: Gateway) -> None:
    """Other clients get 405 and the methods of the route, as before."""
    for headers in ({}, {"Origin": APP}, {"Access-Control-Request-Method": "POST"}):
        async with open_gateway.options(SUMS, headers=headers) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
            assert ("Access-Control-Allow-Origin" in answer.headers) is ("Origin" in headers)


@pytest.mark.parametrize("what", EXCHANGES)
async def test_responses_to_an_allowed_origin(open_gateway: Gateway, what: str) -> None:
    """A page reads every response, errors too, and the headers that tell it something."""
    method, path, status, body, headers = EXCHANGES[what]
    sent = {
        "Origin": APP,
        "Sec-Fetch-Site": "cross-site",
        "Content-Type": "application/json",
        **dict(headers),
    }
    automatic = ["Accept-Encoding"]
    async with open_gateway.request(
        method, path, data=body, headers=sent, skip_auto_headers=automatic
    ) as answer:
        assert answer.status == status, await answer.text()
        assert answer.headers["Access-Control-Allow-Origin"] == APP
        exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"X-Request-Id", "Model-Name", "Model-Version", "Retry-After", "RateLimit"} <= set(exposed)
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert "Origin" in vary(answer)
        assert ("Accept-Encoding" in vary(answer)) is ("compressed" in what)
        assert ("Content-Encoding" in answer.headers) is ("compressed" in what)


@pytest.mark.parametrize("origin", [*FOREIGN, None])
async def test_responses_to_others(open_gateway: Gateway, origin: str | None) -> None:
    """Another page may not read them; caches learn that the answer depends on the origin."""
    headers = {"Content-Type": "application/json"} | ({} if origin is None else {"Origin": origin})
    async with open_gateway.get("/model", headers=headers) as answer:
        assert answer.status == 200
        assert cors_headers(answer.headers) == set()
        assert "Origin" in vary(answer)
    async with open_gateway.post(SUMS, data=BODY, headers=headers) as answer:
        assert answer.status == (200 if origin is None else 403)
        assert cors_headers(answer.headers) == set()


async def test_an_allowed_origin_must_be_the_only_word(open_gateway: Gateway) -> None:
    """Two origins in a header are no origin."""
    async with open_gateway.post(
        SUMS, data=BODY, headers={"Origin": f"{APP}, https://evil.example"}
    ) as answer:
        assert answer.status == 403
        assert "evil.example" in json.loads(await answer.read())["message"]
