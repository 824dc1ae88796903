"""Proves that the OpenAPI document is valid, complete and true, and that the page loads no foreign files."""

from __future__ import annotations

import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import RawTestServer
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # its stubs would serve this test alone
from openapi_spec_validator import validate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.gateways import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def document(gateway: Gateway) -> dict[str, Any]:
    async with gateway.get("/openapi.json") as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        found: dict[str, Any] = await answer.json()
        return found


async def test_the_document_is_valid(gateway: Gateway) -> None:
    """It is valid OpenAPI 3.1 by the specification's schema."""
    described = await document(gateway)
    validate(described)
    assert described["openapi"].startswith("3.1")


async def test_every_route_is_described_and_every_description_is_a_route(gateway: Gateway) -> None:
    """HEAD belongs to GET, and a path and its twin with a trailing slash are one route."""
    described = {
        (method.upper(), path) for path, item in (await document(gateway))["paths"].items() for method in item
    }
    routed = {
        (route.method, route.resource.canonical.rstrip("/"))
        for route in gateway.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    pages = {(method, path) for method, path in routed if not path or path.startswith(("/ui/", "/console/"))}
    assert described == routed - pages  # pages for people, and what their scripts ask


async def test_every_route_has_its_slashed_twin(gateway: Gateway) -> None:
    """Only the files of the page have none."""
    routed = {route.canonical for route in gateway.app.router.resources()}
    assert {path for path in routed if f"{path.rstrip('/')}/" not in routed} == {
        "/docs/{file}",
        "/ui/static/{file}",
        "/console/state",
        "/console/charts",
    }


async def test_the_invocation_examples_run(gateway: Gateway) -> None:
    """A model with the demo's columns answers each example body of the document."""
    described = await document(gateway)
    examples = described["components"]["requestBodies"]["Invocation"]["content"]["application/json"][
        "examples"
    ]
    assert len(examples) == 4
    for example in examples.values():
        async with gateway.post("/model/api-wine/@champion/invocation", json=example["value"]) as answer:
            assert answer.status == 200, await answer.text()
            assert (await answer.json())["predictions"][0] == 0


async def test_responses_are_as_described(gateway: Gateway) -> None:
    """Real responses are valid by the schemas of the document."""
    described = await document(gateway)
    for name, path in {
        "ModelPage": "/model?filter=api",
        "ModelDetails": "/model/api-sums",
        "VersionDetails": "/model/api-wine/1",
        "Readiness": "/health/ready",
        "Error": "/model/missing",
    }.items():
        schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
        async with gateway.get(path) as answer:
            Draft202012Validator(schema).validate(await answer.json())


@pytest.mark.parametrize("prefix", ["", "/ml", "/ml/gateway"])
@pytest.mark.parametrize("path", ["/docs", "/docs/", "/openapi.json", "/openapi.json/"])
async def test_behind_a_proxy_that_strips_a_prefix(gateway: Gateway, prefix: str, path: str) -> None:
    """The page leads to the document, and that to every route, all below the prefix."""
    async with stripping_proxy(gateway, prefix) as root:
        url = f"{root}{path}"
        async with ClientSession() as client:
            if path.startswith("/docs"):
                page = await read(client, url)
                (link,) = re.findall(r'data-document="([^"]+)"', page.decode())
                url = urljoin(url, link)
            (server,) = json.loads(await read(client, url))["servers"]
            assert not urlsplit(server["url"]).netloc
            base = urljoin(url, server["url"])
            assert base == f"{root}/"
            assert json.loads(await read(client, base.rstrip("/") + "/health/live")) == {"live": True}


@pytest.mark.parametrize("path", ["/model/", "/model/api-sums/", "/health/live/", "/v2/", "/docs/"])
async def test_no_response_leads_out_of_the_prefix(gateway: Gateway, path: str) -> None:
    """A slash at the end is no redirect, and no header has a URL."""
    async with gateway.get(path, allow_redirects=False) as answer:
        assert answer.status == 200
        assert not answer.headers.keys() & {"Location", "Content-Location", "Link", "Refresh"}


@asynccontextmanager
async def stripping_proxy(gateway: Gateway, prefix: str) -> AsyncIterator[str]:
    """Run a proxy that serves the gateway below `prefix`, and nothing else; yield the URL of that."""

    async def forward(request: web.BaseRequest) -> web.Response:
        if not request.raw_path.startswith(f"{prefix}/"):
            return web.Response(status=404, text="not below the prefix")
        path = request.raw_path.removeprefix(prefix)
        async with gateway.request(request.method, path, data=await request.read()) as answer:
            body = await answer.read()
            return web.Response(status=answer.status, body=body, content_type=answer.content_type)

    async with RawTestServer(forward) as server:
        yield str(server.make_url(prefix or "/")).rstrip("/")


async def read(client: ClientSession, url: str) -> bytes:
    async with client.get(url) as answer:
        assert answer.status == 200, url
        return await answer.read()


@pytest.mark.parametrize(("path", "base"), [("/docs", ""), ("/docs/", "../")])
async def test_the_page_loads_no_foreign_files(gateway: Gateway, path: str, base: str) -> None:
    """Its addresses are relative and exist, it has no inline script, and its policy forbids all else."""
    async with gateway.get(path) as answer:
        page = await answer.text()
        assert answer.content_type == "text/html"
        policy = answer.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"<script>|<style|\bon\w+=", page)
    addresses = re.findall(r'(?:src|href|data-document)="([^"]+)"', page)
    assert len(addresses) == 5
    for address in addresses:
        assert address.startswith(base)
        async with gateway.get(f"/{address.removeprefix(base)}") as answer:
            assert answer.status == 200
            assert len(await answer.read()) > 100
            assert not address.endswith(".js") or answer.content_type.endswith("/javascript")


@pytest.mark.parametrize("name", ["index.html", "..%2F__init__.py", "swagger-ui.js", "%2Fetc%2Fpasswd"])
async def test_no_other_file_is_served(gateway: Gateway, name: str) -> None:
    """A fixed list decides, not the folder's content."""
    async with gateway.get(f"/docs/{name}") as answer:
        assert answer.status == 404
