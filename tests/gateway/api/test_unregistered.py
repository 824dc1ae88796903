"""Proves that models that MLflow's client logged without registering them are served, on every route."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.gateway.serving.test_pinned import get_until, is_ready
from tests.support.gateways import Gateway, gateway_at, invoke
from tests.support.shared import once

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

NAME = "no-registry"
TENSORS = {
    "inputs": [
        {"name": "a", "shape": [1], "datatype": "FP64", "data": [1.0]},
        {"name": "b", "shape": [1], "datatype": "FP64", "data": [2.0]},
    ]
}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ids(mlflow_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Log the models of `tests.support.unregistered_models` once for the whole run; return their ids."""
    return await asyncio.to_thread(once, tmp_path_factory, "unregistered", lambda _: _log(mlflow_server))


def _log(server: MlflowServer) -> Any:
    return server.module("tests.support.unregistered_models")


async def get(gateway: Gateway, path: str) -> tuple[int, Any]:
    async with gateway.get(path) as answer:
        return answer.status, await answer.json()


async def post(gateway: Gateway, path: str, document: Any) -> tuple[int, Any]:
    async with gateway.post(path, json=document) as answer:
        return answer.status, await answer.json()


async def test_a_model_that_log_artifacts_saved(gateway: Gateway, ids: Any) -> None:
    """By its run's number and id, latest and best, it is the same version."""
    expected = {"predictions": [21.0, 49.0], "model": {"name": NAME, "version": "1", "source": "experiment"}}
    for path in ("1/invocation", f"{ids['run']}/invocation", "invocation/latest"):
        found = await invoke(gateway, f"/model/{NAME}/{path}")
        assert found == (200, expected), found
    best = {"best": {"metric": "rmse", "value": 0.5, "order": "min"}}
    assert await invoke(gateway, f"/model/{NAME}/invocation/best") == (200, {**expected, **best})
    status, version = await get(gateway, f"/model/{NAME}/{ids['run']}")
    assert (status, version["version"], version["serving"]["state"]) == (200, "1", "warm")
    assert (version["artifact_uri"].endswith("/artifacts/model"), version["flavors"]) == (
        True,
        ["python_function"],
    )
    assert version["requirements"] == ["mlflow"]


async def test_a_model_logged_without_a_run(gateway: Gateway, ids: Any) -> None:
    """Predictions, details and the list of the experiment."""
    model_id = ids["model"]
    expected = {
        "predictions": [24.0, 56.0],
        "model": {"name": NAME, "version": model_id, "source": "experiment"},
    }
    assert await invoke(gateway, f"/model/{NAME}/{model_id}/invocation") == (200, expected)
    assert await invoke(gateway, f"/models/{NAME}/{model_id}/invocation") == (200, expected)
    status, version = await get(gateway, f"/model/{NAME}/{model_id}")
    assert (status, version["version"], version["run"], version["run_id"]) == (200, model_id, None, "")
    assert len(version["signature"]["inputs"]) == 2
    assert (version["serving"]["state"], version["status"]) == ("warm", "READY")
    status, model = await get(gateway, f"/model/{NAME}")
    assert (status, model["latest"], [each["version"] for each in model["versions"]]) == (200, "1", ["1"])
    (listed,) = model["models_without_run"]
    assert (listed["version"], listed["logged_name"], listed["status"]) == (model_id, "outside", "READY")
    assert listed.keys() == model["versions"][0].keys() | {"logged_name"}


async def test_the_open_inference_protocol(gateway: Gateway, ids: Any) -> None:
    """Inference, metadata, readiness, load and unload take ids too."""
    for version, total in ((ids["model"], 24.0), (ids["run"], 21.0)):
        path = f"/v2/models/{NAME}/versions/{version}"
        status, reply = await post(gateway, f"{path}/infer", TENSORS)
        assert (status, reply["outputs"][0]["data"]) == (200, [total])
        assert reply["model_version"] == (version if version == ids["model"] else "1")
        assert (await get(gateway, path))[1]["versions"] == [reply["model_version"]]
        assert (await get(gateway, f"{path}/ready"))[1]["ready"]
        body = {"parameters": {"version": version}}
        for verb in ("unload", "load"):
            assert (await post(gateway, f"/v2/repository/models/{NAME}/{verb}", body))[0] == 200


async def test_a_pinned_id(mlflow_server: MlflowServer, ids: Any, tmp_path: Path) -> None:
    """It is loaded before the gateway is ready."""
    pinned = f"{NAME}/{ids['model']}, {NAME}/{ids['run']}"
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_PINNED_MODELS=pinned) as gateway:
        assert (await get_until(gateway, "/health/ready", is_ready))["pinned"]["problems"] == {}
        for version in (ids["model"], "1"):
            assert (await get(gateway, f"/model/{NAME}/{version}"))[1]["serving"]["state"] == "warm"
