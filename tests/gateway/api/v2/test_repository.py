"""Proves the repository's routes over the real application: index, load, unload, and what they refuse."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.api.keys import COMPONENTS
from tests.support.gateways import Gateway, gateway_at, invoke

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

SLEEPS = b'{"dataframe_records": [{"do": "sleep 1"}]}'


async def post(gateway: Gateway, path: str, document: Any = None) -> tuple[int, Any]:
    """Status and JSON of a POST to the repository."""
    async with gateway.post(f"/v2/repository/{path}", json=document) as answer:
        return answer.status, await answer.json()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


async def states(gateway: Gateway, **wanted: bool) -> dict[tuple[str, str], str]:
    status, entries = await post(gateway, "index", wanted)
    assert status == 200
    return {(entry["name"], entry["version"]): entry["state"] for entry in entries}


async def test_load_and_unload(gateway: Gateway) -> None:
    """A version becomes warm, is listed as READY, and is cold again, its process gone."""
    await post(gateway, "models/api-sums/unload")
    assert (await states(gateway))["api-sums", "3"] == "UNAVAILABLE"
    loaded = {"name": "api-sums", "version": "3", "state": "READY"}
    assert await post(gateway, "models/api-sums/load") == (200, loaded)
    assert await post(gateway, "models/api-sums/load", {"parameters": {"version": "@champion"}}) == (
        200,
        {**loaded, "version": "2"},
    )
    ready = await states(gateway, ready=True)
    assert ready["api-sums", "3"] == ready["api-sums", "2"] == "READY"
    assert ("api-tens", "1") not in ready or ready["api-tens", "1"] == "READY"
    one = {"parameters": {"version": 2, "unload_dependents": False}}
    assert await post(gateway, "models/api-sums/unload", one) == (
        200,
        {"name": "api-sums", "unloaded": ["2"]},
    )
    assert await post(gateway, "models/api-sums/unload") == (200, {"name": "api-sums", "unloaded": ["3"]})
    assert await post(gateway, "models/api-sums/unload") == (200, {"name": "api-sums", "unloaded": []})
    assert not any(name == "api-sums" for name, _ in await states(gateway, ready=True))
    assert (await invoke(gateway, "/model/api-sums/latest/invocation"))[1]["predictions"] == [9.0, 21.0]


async def test_the_index_has_every_model(gateway: Gateway) -> None:
    """Each model of MLflow once at least, without being loaded, and each name as it is."""
    async with gateway.get("/model/?max_results=1000") as answer:
        known = {model["name"] for model in (await answer.json())["models"]}
    assert {name for name, _ in await states(gateway)} == known


async def test_a_busy_model_answers_first(gateway: Gateway) -> None:
    """What was asked before the unloading is answered; the next request loads the model anew."""
    await post(gateway, "models/api-commands/load")
    asked = asyncio.create_task(invoke(gateway, "/model/api-commands/1/invocation", SLEEPS))
    pool = gateway.app[COMPONENTS].pool
    await until(
        lambda: any(held.group.busy for key, held in pool._slots.loaded.items() if key.name == "api-commands")
    )
    started = time.monotonic()
    assert (await post(gateway, "models/api-commands/unload"))[1]["unloaded"] == ["1"]
    assert time.monotonic() - started > 0.3
    status, body = await asked
    assert status == 200
    _, anew = await invoke(gateway, "/model/api-commands/1/invocation", SLEEPS.replace(b"sleep 1", b"x"))
    assert anew["predictions"] != body["predictions"]  # it answers its process id


async def test_a_pinned_model_stays(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """Unloading it is refused, and nothing of it is unloaded."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_PINNED_MODELS="api-sums@champion") as gateway:
        await until(lambda: gateway.app[COMPONENTS].pinned.ready)
        await post(gateway, "models/api-sums/load")
        status, body = await post(gateway, "models/api-sums/unload")
        assert status == 409
        assert "pinned" in body["error"]
        assert await states(gateway, ready=True) == {("api-sums", "2"): "READY", ("api-sums", "3"): "READY"}
        status, body = await post(gateway, "models/api-sums/unload", {"parameters": {"version": "3"}})
        assert (status, body["unloaded"]) == (200, ["3"])


@pytest.mark.parametrize(
    ("path", "document", "status"),
    [
        ("models/nobody/load", None, 404),
        ("models/nobody/unload", None, 404),
        ("models/api-sums/load", {"parameters": {"version": "9"}}, 404),
        ("models/api-sums/load", {"parameters": {"version": "s3://bucket/key"}}, 404),
        ("models/api-sums/load", {"parameters": {"version": True}}, 400),
        ("models/api-sums/load", {"parameters": {"config": "{}"}}, 400),
        ("models/api-sums/load", {"parameters": {"file:1/model.pkl": "eA=="}}, 400),
        ("models/api-sums/load", {"parameters": []}, 200),
        ("models/api-sums/load", {"parameters": [1]}, 400),
        ("models/api-sums/load", [1], 400),
        ("models/api-prompt/load", None, 409),
        ("models/api-broken/load", None, 424),
        ("index", {"ready": "yes"}, 400),
        ("index", "x" * 70_000, 413),
    ],
)
async def test_refusals(gateway: Gateway, path: str, document: Any, status: int) -> None:
    """Only what MLflow holds can be loaded, by name and version; no error has another shape."""
    found, body = await post(gateway, path, document)
    assert found == status, body
    assert status == 200 or list(body) == ["error"]


async def test_bodies_without_type(gateway: Gateway) -> None:
    """An empty body, and one that is no JSON; Triton's client sends neither type nor body."""
    async with gateway.post("/v2/repository/index", skip_auto_headers=["Content-Type"]) as answer:
        assert answer.status == 200
    async with gateway.post("/v2/repository/index", data=b"{") as answer:
        assert (answer.status, await answer.json()) == (400, {"error": "The body is not valid JSON."})
