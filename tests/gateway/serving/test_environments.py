"""Proves what clients see of a version that needs an environment: while it is built, and if it cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.system.programs import find_uv
from tests.gateway.environments.conftest import fill
from tests.gateway.serving.test_service import registered_again
from tests.support.gateways import gateway_at, invoke
from tests.support.package_index import serve_index

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.gateways import Gateway
    from tests.support.mlflow_server import MlflowServer
    from tests.support.package_index import PackageIndex

pytestmark = pytest.mark.skipif(find_uv() is None, reason="uv is not installed")


@pytest.fixture
def index(tmp_path: Path) -> Iterator[PackageIndex]:
    """An index without packages."""
    with serve_index(tmp_path / "index") as served:
        yield served


def settings(index: PackageIndex, **more: str) -> dict[str, str]:
    """Return settings with this index."""
    return {"GATEWAY_ENVIRONMENTS": "needed", "UV_DEFAULT_INDEX": index.url, "UV_HTTP_RETRIES": "0", **more}


async def environment_of(gateway: Gateway, path: str) -> dict[str, Any]:
    """Return what the details of a version say of its environment."""
    async with gateway.get(path) as response:
        environment: dict[str, Any] = (await response.json())["serving"].get("environment", {})
        return environment


async def test_requirements_that_cannot_be_had_are_told(
    mlflow_server: MlflowServer, registered: list[str], index: PackageIndex, tmp_path: Path
) -> None:
    """The client gets 424 with the reason, and so do the version's details."""
    name = registered_again(mlflow_server, "api-tens", gateway_environment="own")
    async with gateway_at(mlflow_server.url, tmp_path, **settings(index)) as gateway:
        status, problem = await invoke(gateway, f"/model/{name}/1/invocation")
        assert (status, problem["error_code"]) == (424, "INVALID_STATE")
        assert "requirements cannot be resolved" in problem["message"]
        told = await environment_of(gateway, f"/model/{name}/1")
        assert (told["state"], told["reason"]) == ("failed", problem["message"])
        status, _ = await invoke(gateway, "/model/api-tens/1/invocation")
        assert status == 200
        assert (await environment_of(gateway, "/model/api-tens/1"))["state"] == "shared"
        index.requests.clear()
        status, _ = await invoke(gateway, f"/model/{name}/1/invocation")
        assert (status, index.requests) == (424, [])
        async with gateway.post(f"/v2/repository/models/{name}/load", json={}) as response:
            assert (response.status, index.requests) == (424, [])  # as for a model whose load has failed


async def test_an_environment_in_which_nothing_runs_is_told(
    mlflow_server: MlflowServer, registered: list[str], index: PackageIndex, tmp_path: Path
) -> None:
    """Its packages have the right names and nothing else: the version's details say that it failed."""
    fill(index)
    name = registered_again(mlflow_server, "api-tens", gateway_environment="own")
    async with gateway_at(mlflow_server.url, tmp_path, **settings(index)) as gateway:
        status, problem = await invoke(gateway, f"/model/{name}/1/invocation")
        assert (status, problem["error_code"]) == (424, "INVALID_STATE")
        assert "The model's Python environment cannot import mlflow." in problem["message"]
        told = await environment_of(gateway, f"/model/{name}/1")
        assert told["state"] == "failed"
        assert told["reason"] == "The model's Python environment cannot import mlflow."
        assert told["digest"]


async def test_a_request_waits_no_longer_than_for_a_prediction(
    mlflow_server: MlflowServer, registered: list[str], index: PackageIndex, tmp_path: Path
) -> None:
    """Then it gets 503 with Retry-After, and the build goes on for the next one."""
    name = registered_again(mlflow_server, "api-tens", gateway_environment="own")
    index.released.clear()
    limit = {"GATEWAY_REQUEST_TIMEOUT_SECONDS": "2"}
    async with gateway_at(mlflow_server.url, tmp_path, **settings(index, **limit)) as gateway:
        async with gateway.post(f"/model/{name}/1/invocation", json={"inputs": {}}) as response:
            assert response.status == 503
            assert response.headers["Retry-After"] == "10"
            assert "environment is being built" in (await response.json())["message"]
        told = await environment_of(gateway, f"/model/{name}/1")
        assert told["state"] == "building"
        assert told["progress"]
        index.released.set()


async def test_an_alias_stays_while_the_new_version_gets_its_environment(
    mlflow_server: MlflowServer, registered: list[str], index: PackageIndex, tmp_path: Path
) -> None:
    """Requests are answered by the old version, at once, until the new one is warm."""
    server, name = mlflow_server, registered_again(mlflow_server, "api-tens")
    version = server.call("model-versions/get?name=api-tens&version=1", {}, method="GET")["model_version"]
    source = {
        "name": name,
        "source": version["source"],
        "model_id": version["source"].removeprefix("models:/"),
    }
    alias = {"name": name, "alias": "champion"}
    server.call("registered-models/alias", {**alias, "version": "1"})
    tags = [{"key": "gateway.environment", "value": "own"}]
    server.call("model-versions/create", {**source, "tags": tags})
    at_once = {"GATEWAY_CATALOG_TTL_SECONDS": "0"}
    async with gateway_at(server.url, tmp_path, **settings(index, **at_once)) as gateway:
        assert (await invoke(gateway, f"/model/{name}/@champion/invocation"))[0] == 200
        index.released.clear()
        server.call("registered-models/alias", {**alias, "version": "2"})
        while not index.requests:
            status, answer = await invoke(gateway, f"/model/{name}/@champion/invocation")
            assert (status, answer["model"]["version"]) == (200, "1")
        told = await environment_of(gateway, f"/model/{name}/2")
        assert told["state"] == "building"
        index.released.set()
