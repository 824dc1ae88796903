"""Proves the routes of the model repository with the real application: index, load, unload, errors."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.api.keys import COMPONENTS
from tests.support.gateways import Gateway, gateway_at, invoke
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

COMMANDS = "/model/api-commands/1/invocation"


def commands(*commands: str) -> bytes:
    return json.dumps({"dataframe_records": [{"do": command} for command in commands]}).encode()


async def post(gateway: Gateway, path: str, document: Any = None) -> tuple[int, Any]:
    """Return the status and the JSON of a POST to the repository."""
    async with gateway.post(f"/v2/repository/{path}", json=document) as answer:
        return answer.status, await answer.json()


async def states(gateway: Gateway, **document: bool) -> dict[tuple[str, str], str]:
    """Return the states of the index by name and version."""
    status, entries = await post(gateway, "index", document)
    assert status == 200
    return {(entry["name"], entry["version"]): entry["state"] for entry in entries}


async def test_load_and_unload(gateway: Gateway) -> None:
    """A version is loaded, is listed as READY, and is unloaded again."""
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
    """The index has each model of MLflow with its exact name, loaded or not. Other tests register some."""
    before = await listed(gateway)
    index = {name for name, _ in await states(gateway)}
    after = await listed(gateway)
    assert before & after <= index <= before | after


async def listed(gateway: Gateway) -> set[str]:
    """Return the names in the list of models."""
    async with gateway.get("/model/?max_results=1000") as answer:
        return {model["name"] for model in (await answer.json())["models"]}


async def test_a_busy_model_answers_first(gateway_without_wall: Gateway, tmp_path: Path) -> None:
    """Unloading waits for the requests sent before; the next request loads the model again."""
    gateway = gateway_without_wall
    running, go = tmp_path / "running", tmp_path / "go"
    await post(gateway, "models/api-commands/load")
    request = asyncio.create_task(invoke(gateway, COMMANDS, commands(f"note {running}", f"wait_for {go}")))
    await until(running.exists)
    unload = asyncio.create_task(post(gateway, "models/api-commands/unload"))
    engine = gateway.app[COMPONENTS].engine
    await until(
        lambda: not any(engine.is_loaded(key) for key in engine.statuses() if key.name == "api-commands")
    )
    assert not unload.done()
    go.touch()
    status, body = await request
    assert status == 200
    assert (await unload)[1]["unloaded"] == ["1"]
    _, reloaded = await invoke(gateway, COMMANDS, commands("x"))
    assert reloaded["predictions"] != body["predictions"]  # the ids of the worker processes


async def test_a_pinned_model_stays(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """Unloading it is rejected, and no version of it is unloaded."""
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
        ("models/missing/load", None, 404),
        ("models/missing/unload", None, 404),
        ("models/api-sums/load", {"parameters": {"version": "9"}}, 404),
        ("models/api-sums/load", {"parameters": {"version": "s3://bucket/key"}}, 404),
        ("models/api-sums/load", {"parameters": {"version": True}}, 400),
        ("models/api-sums/load", {"parameters": {"config": "{}"}}, 400),
        ("models/api-sums/load", {"parameters": {"file:1/model.pkl": "eA=="}}, 400),
        ("models/api-sums/load", {"parameters": None}, 200),
        ("models/api-sums/load", {"parameters": []}, 400),
        ("models/api-sums/load", {"parameters": [1]}, 400),
        ("models/api-sums/load", [1], 400),
        ("models/api-prompt/load", None, 409),
        ("models/api-broken/load", None, 424),
        ("index", {"ready": "yes"}, 400),
        ("index", "x" * 70_000, 413),
    ],
)
async def test_errors(gateway: Gateway, path: str, document: Any, status: int) -> None:
    """A client can load only models of MLflow, by name and version; every error has the same form."""
    got, body = await post(gateway, path, document)
    assert got == status, body
    assert status == 200 or list(body) == ["error"]


async def test_bodies_without_type(gateway: Gateway) -> None:
    """An empty body is valid, because Triton's client sends neither type nor body; invalid JSON is not."""
    async with gateway.post("/v2/repository/index", skip_auto_headers=["Content-Type"]) as answer:
        assert answer.status == 200
    async with gateway.post("/v2/repository/index", data=b"{") as answer:
        assert (answer.status, await answer.json()) == (400, {"error": "The body is not valid JSON."})
