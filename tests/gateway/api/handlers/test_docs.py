"""Proves that the OpenAPI document is valid, whole and true, and that the page needs no other machine."""

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
    """OpenAPI 3.1, by the specification's own schema."""
    described = await document(gateway)
    validate(described)
    assert described["openapi"].startswith("3.1")


async def test_every_route_is_described_and_every_description_is_a_route(gateway: Gateway) -> None:
    """HEAD goes with GET, and a trailing slash is said once for all."""
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
    """Only a file's address has none."""
    routed = {route.canonical for route in gateway.app.router.resources()}
    assert {path for path in routed if f"{path.rstrip('/')}/" not in routed} == {"/docs/{file}"}


async def test_the_invocation_examples_run(gateway: Gateway) -> None:
    """Each body of the document is answered by a model of the demo's columns."""
    described = await document(gateway)
    examples = described["components"]["requestBodies"]["Invocation"]["content"]["application/json"][
        "examples"
    ]
    assert len(examples) == 4
    for example in examples.values():
        async with gateway.post("/model/api-wine/@champion/invocation", json=example["value"]) as answer:
            assert answer.status == 200, await answer.text()
            assert (await answer.json())["predictions"][0] == 0


async def test_answers_are_as_described(gateway: Gateway) -> None:
    """Real answers validate against the schemas that the document gives for them."""
    described = await document(gateway)
    for name, path in {
        "ModelPage": "/model?filter=api",
        "ModelDetails": "/model/api-sums",
        "VersionDetails": "/model/api-wine/1",
        "Readiness": "/health/ready",
        "Error": "/model/nobody",
    }.items():
        schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
        async with gateway.get(path) as answer:
            Draft202012Validator(schema).validate(await answer.json())


@pytest.mark.parametrize(("path", "base"), [("/docs", ""), ("/docs/", "../")])
async def test_the_page_comes_from_here_alone(gateway: Gateway, path: str, base: str) -> None:
    """Every address in it is relative and answered; no inline script, and a policy that forbids the rest."""
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


@pytest.mark.parametrize("name", ["index.html", "..%2F__init__.py", "..", "swagger-ui.js", "%2Fetc%2Fpasswd"])
async def test_no_other_file_is_given_out(gateway: Gateway, name: str) -> None:
    """A list decides, not the folder."""
    async with gateway.get(f"/docs/{name}") as answer:
        assert answer.status == 404
