"""Proves the routes of MLflow's deployment client: what an endpoint is, and that its name can be called."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.support.gateways import Gateway, invoke
from tests.support.hostile_names import HOSTILE

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def get(gateway: Gateway, path: str) -> tuple[int, Any]:
    async with gateway.get(path) as answer:
        return answer.status, await answer.json()


async def test_an_endpoint(gateway: Gateway) -> None:
    """It is a model, by the version that the path names or the latest."""
    for path, name in (("api-sums", "api-sums"), ("api-sums/@champion", "api-sums/@champion")):
        assert await get(gateway, f"/api/2.0/endpoints/{path}") == (
            200,
            {
                "name": name,
                "endpoint_type": "mlflow/pyfunc",
                "model": {"name": "api-sums", "provider": "mlflow"},
                "endpoint_url": f"/endpoints/{name}/invocations",
                "limit": None,
            },
        )


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("api-none", 404),
        ("api-sums/99", 404),
        ("api-sums/x", 404),
        ("api-tens/best", 422),
        ("api-prompt", 409),
    ],
)
async def test_what_cannot_answer_is_no_endpoint(gateway: Gateway, path: str, status: int) -> None:
    """Its status is what `predict` gets."""
    assert (await get(gateway, f"/api/2.0/endpoints/{path}"))[0] == status
    assert (await invoke(gateway, f"/endpoints/{path}/invocations"))[0] == status


async def test_the_list(gateway: Gateway) -> None:
    """It has registered models and experiments, each as it is shown alone; a prompt is none of them."""
    status, page = await get(gateway, "/api/2.0/endpoints/")
    assert status == 200
    found = {endpoint["model"]["name"]: endpoint for endpoint in page["endpoints"]}
    assert {"api-sums", "api/forest", *HOSTILE} <= found.keys()
    assert "api-prompt" not in found
    for name in ("api-sums", "api/forest", *HOSTILE):
        url = f"/endpoints/{quote(name, safe='')}/invocations"
        assert found[name]["endpoint_url"] == url
        assert await get(gateway, f"/api/2.0/endpoints/{quote(name, safe='')}") == (200, found[name])


@pytest.mark.parametrize("name", ["api/forest", HOSTILE[0]])
async def test_the_address_of_an_endpoint(gateway: Gateway, name: str) -> None:
    """It answers, whatever the name."""
    _, endpoint = await get(gateway, f"/api/2.0/endpoints/{quote(name, safe='')}")
    status, answer = await invoke(gateway, endpoint["endpoint_url"])
    assert (status, answer.keys()) == (200, {"predictions"})


async def test_the_next_page(gateway: Gateway) -> None:
    """A token leads to the endpoints that follow, and the last page has none."""
    _, first = await get(gateway, "/model?max_results=1")
    params = {"page_token": first["next_page_token"]}
    async with gateway.get("/api/2.0/endpoints", params=params) as answer:
        page = await answer.json()
    names = {endpoint["model"]["name"] for endpoint in page["endpoints"]}
    assert first["models"][0]["name"] not in names
    assert "api/forest" in names
    assert "next_page_token" not in page


async def test_a_wrong_page(gateway: Gateway) -> None:
    """It is refused as in the list of models."""
    status, error = await get(gateway, "/api/2.0/endpoints?page_token=x")
    assert (status, error["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
