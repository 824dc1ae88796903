"""Proves that the OpenAPI document is valid, complete and true, and that the page loads no foreign files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # its stubs would serve this test alone
from openapi_spec_validator import validate

if TYPE_CHECKING:
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
    assert described == routed


async def test_every_route_has_its_slashed_twin(gateway: Gateway) -> None:
    """Only the files of the page have none."""
    routed = {route.canonical for route in gateway.app.router.resources()}
    assert {path for path in routed if f"{path.rstrip('/')}/" not in routed} == {"/docs/{file}"}


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


@pytest.mark.parametrize("name", ["index.html", "..%2F__init__.py", "..", "swagger-ui.js", "%2Fetc%2Fpasswd"])
async def test_no_other_file_is_served(gateway: Gateway, name: str) -> None:
    """A fixed list decides, not the folder's content."""
    async with gateway.get(f"/docs/{name}") as answer:
        assert answer.status == 404
