"""Proves that a kind of names which is not served is unknown on every route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateways import Gateway, gateway_at

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

ROUTES = [
    ("GET", "/model/{}"),
    ("GET", "/models/{}"),
    ("GET", "/model/{}/1"),
    ("GET", "/model/{}/latest"),
    ("GET", "/model/{}/1/openapi.json"),
    ("GET", "/model/{}/1/ping"),
    ("POST", "/model/{}/1/invocation"),
    ("POST", "/model/{}/1/invocations"),
    ("POST", "/endpoints/{}/invocations"),
    ("GET", "/api/2.0/endpoints/{}"),
    ("POST", "/model/{}/invocation/latest"),
    ("POST", "/model/{}/invocation/best"),
    ("POST", "/models/{}/best/invocation"),
    ("GET", "/v2/models/{}"),
    ("GET", "/v2/models/{}/versions/1"),
    ("GET", "/v2/models/{}/ready"),
    ("POST", "/v2/models/{}/infer"),
    ("POST", "/v2/repository/models/{}/load"),
    ("POST", "/v2/repository/models/{}/unload"),
]


async def ask(gateway: Gateway, method: str, path: str) -> tuple[int, Any]:
    """Return the status and the JSON of the answer without what differs between two requests."""
    async with gateway.request(method, path, json={} if method == "POST" else None) as answer:
        body = await answer.json()
        if isinstance(body, dict):
            body.pop("request_id", None)
        return answer.status, body


@pytest.mark.parametrize(("kinds", "hidden"), [("registry", "api%2Fforest"), ("experiments", "api-sums")])
async def test_a_kind_that_is_not_served(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path, kinds: str, hidden: str
) -> None:
    """Its names get the answer of a name that does not exist, and are in no list."""
    values = {"GATEWAY_SOURCES": kinds, "GATEWAY_PRELOAD": "none"}
    async with gateway_at(mlflow_server.url, tmp_path, **values) as gateway:
        for method, path in ROUTES:
            status, body = await ask(gateway, method, path.format(hidden))
            unknown = hidden.replace("a", "x", 1)
            expected, text = await ask(gateway, method, path.format(unknown))
            name, other = hidden.replace("%2F", "/"), unknown.replace("%2F", "/")
            assert status == expected, path
            assert str(body).replace(name, other) == str(text), path
            assert status in {404, 400}, path
        name = hidden.replace("%2F", "/")
        for path in ("/model/?max_results=1000", f"/model/?filter={hidden}"):
            models = (await ask(gateway, "GET", path))[1]["models"]
            assert name not in {model["name"] for model in models}
            assert {model["source"] for model in models} <= {kinds.removesuffix("s")}
        index = (await ask(gateway, "POST", "/v2/repository/index"))[1]
        assert index
        assert name not in {entry["name"] for entry in index}
