"""Proves what a version's details cost: calls to MLflow, time for hostile files, and how old they may be."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gateway.api.keys import COMPONENTS
from gateway.catalog.catalog import STALE_HITS
from tests.support import gateways
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.gateways import Gateway, invoke
from tests.support.mlflow_records import create_run, create_version, put_artifact, unique_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

MLMODEL = """
flavors: {python_function: {loader_module: mlflow.sklearn}}
mlflow_version: 3.17.2
signature: {inputs: '[{"type": "double", "name": "a"}]', outputs: null, params: null}
"""
EXAMPLE = '{"inputs": [1]}'
KEEP = "3600"  # seconds: longer than any test takes
MEBIBYTE = 1 << 20
REQUIREMENTS_BOMB = "\n".join(f"numpy>=1.{number}" for number in range(69_000))[:MEBIBYTE]
MLMODEL_BOMBS = {
    "empty lists": "flavors: {a: [" + "[]," * (MEBIBYTE // 3 - 20) + "a]}",
    "keys": "\n".join(f"a{number}:" for number in range(130_000))[:MEBIBYTE],
    "aliases": "a: &a [x]\nb: [" + "*a," * (MEBIBYTE // 3 - 20) + "x]",
    "directives": "".join(f"%TAG !a{number}! x\n" for number in range(60_000))[: MEBIBYTE - 10] + "\n--- a",
    "documents": "---\n" * (MEBIBYTE // 4),
}


def create_files(server: MlflowServer, **files: str) -> str:
    """Register a version with these files, with `.` for `__` in their names; return the model's name."""
    name, run = unique_name("details"), create_run(server, "0")
    for path, text in files.items():
        put_artifact(server, f"{run['artifact_uri']}/model/{path.replace('__', '.')}", text)
    server.call("registered-models/create", {"name": name})
    create_version(server, name, run)
    return name


@pytest.fixture
async def proxy(mlflow_server: MlflowServer) -> AsyncIterator[FaultyProxy]:
    """A proxy in front of the server, which counts the calls."""
    async with faulty_proxy(mlflow_server.url) as proxy:
        yield proxy


@asynccontextmanager
async def gateway_at(url: str, cache: Path, **values: str) -> AsyncIterator[Gateway]:
    """Open a gateway that waits for lookups as long as a slow machine needs."""
    async with gateways.gateway_at(url, cache, **values) as gateway:
        components = gateway.app[COMPONENTS]
        for lookups in (components.details._cache, components.catalog._cache):
            lookups._lookup_timeout = 600.0
        yield gateway


async def get(gateway: Gateway, path: str) -> Any:
    """Return the JSON of a path that answers 200."""
    async with gateway.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def test_details_are_cached(mlflow_server: MlflowServer, proxy: FaultyProxy, tmp_path: Path) -> None:
    """Many requests, also at once, cost the calls to MLflow of one."""
    files = {"MLmodel": MLMODEL, "requirements__txt": "numpy\n", "serving_input_example__json": EXAMPLE}
    name = create_files(mlflow_server, **files)
    async with gateway_at(proxy.url, tmp_path, GATEWAY_CATALOG_TTL_SECONDS=KEEP) as gateway:
        proxy.calls.clear()
        answers = await asyncio.gather(*(get(gateway, f"/model/{name}/1") for _ in range(20)))
        answers += [await get(gateway, f"/model/{name}/1") for _ in range(20)]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["signature"]["inputs"] == [{"type": "double", "name": "a"}]
    assert "requirements_truncated" not in answers[0]
    assert max(Counter(proxy.calls).values()) <= 3  # runs/get: for the metrics, the run, and its folder
    assert len(proxy.calls) <= 10


async def test_files_are_read_once(mlflow_server: MlflowServer, proxy: FaultyProxy, tmp_path: Path) -> None:
    """They belong to the version, so no lifetime ends; neither do those that cannot be parsed."""
    files = {"MLmodel": MLMODEL, "requirements__txt": "numpy\n", "serving_input_example__json": "no json"}
    name = create_files(mlflow_server, **files)
    async with gateway_at(proxy.url, tmp_path, GATEWAY_CATALOG_TTL_SECONDS="0") as gateway:
        for _ in range(3):
            details = await get(gateway, f"/model/{name}/1")
            assert (details["requirements"], details["input_example"]) == (["numpy"], None)
            await get(gateway, f"/v2/models/{name}/versions/1")
    assert [proxy.counted(file) for file in ("/MLmodel", "/requirements.txt")] == [1, 1]
    assert proxy.counted("/serving_input_example.json") == 1


async def test_a_file_that_comes_later_is_found(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """That a file does not exist is not remembered for longer than the rest of the details."""
    run, name = create_run(mlflow_server, "0"), unique_name("details")
    mlflow_server.call("registered-models/create", {"name": name})
    create_version(mlflow_server, name, run)
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_CATALOG_TTL_SECONDS="0") as gateway:
        assert (await get(gateway, f"/model/{name}/1"))["requirements"] is None
        put_artifact(mlflow_server, f"{run['artifact_uri']}/model/requirements.txt", "numpy\n")
        assert (await get(gateway, f"/model/{name}/1"))["requirements"] == ["numpy"]


async def test_the_state_is_live(mlflow_server: MlflowServer, registered: list[str], tmp_path: Path) -> None:
    """A load and an unload show at once, although the rest of the details is cached."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_CATALOG_TTL_SECONDS=KEEP) as gateway:
        states = [(await get(gateway, "/model/api-sums/1"))["serving"]["state"]]
        assert (await invoke(gateway, "/model/api-sums/1/invocation"))[0] == 200
        states.append((await get(gateway, "/model/api-sums/1"))["serving"]["state"])
        async with gateway.post("/v2/repository/models/api-sums/unload") as answer:
            assert answer.status == 200
        states.append((await get(gateway, "/model/api-sums/1"))["serving"]["state"])
    assert states == ["cold", "warm", "cold"]


async def test_a_moved_alias(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """Details follow it as soon as predictions do: after the catalog's lifetime, here none."""
    name = create_files(mlflow_server, MLmodel=MLMODEL)
    create_version(mlflow_server, name, create_run(mlflow_server, "0"))
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_CATALOG_TTL_SECONDS="0") as gateway:
        for version in ("1", "2", "1"):
            mlflow_server.call(
                "registered-models/alias", {"name": name, "alias": "champion", "version": version}
            )
            assert (await get(gateway, f"/model/{name}/@champion"))["version"] == version


async def test_details_while_mlflow_is_away(
    mlflow_server: MlflowServer, proxy: FaultyProxy, tmp_path: Path
) -> None:
    """Details that are past their lifetime are served, and counted; unknown ones are refused."""
    name = create_files(mlflow_server, MLmodel=MLMODEL)
    async with gateway_at(proxy.url, tmp_path, GATEWAY_CATALOG_TTL_SECONDS="0") as gateway:
        before = await get(gateway, f"/model/{name}/1")
        proxy.fault = "away"
        assert await get(gateway, f"/model/{name}/1") == before
        async with gateway.get(f"/model/{name}/2") as answer:
            assert answer.status == 503
        async with gateway.get("/metrics") as page:
            assert f"gateway_{STALE_HITS.name}_total 1" in await page.text()


async def test_a_version_that_is_deleted_has_no_details(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """What MLflow no longer knows is removed from the cache."""
    name = create_files(mlflow_server, MLmodel=MLMODEL)
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_CATALOG_TTL_SECONDS="0") as gateway:
        await get(gateway, f"/model/{name}/1")
        mlflow_server.call("model-versions/delete", {"name": name, "version": "1"}, method="DELETE")
        async with gateway.get(f"/model/{name}/1") as answer:
            assert answer.status == 404


async def test_a_bomb_of_requirements(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """1 MiB of requirements is cut, the answer says so, and the other parts are whole."""
    name = create_files(mlflow_server, MLmodel=MLMODEL, requirements__txt=REQUIREMENTS_BOMB)
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        answers = await asyncio.gather(*(get(gateway, f"/model/{name}/1") for _ in range(8)))
    for details in answers:
        assert details["requirements"] == REQUIREMENTS_BOMB.splitlines()[:2000]
        assert details["requirements_truncated"] is True
        assert details["requirements_missing"] == []
        assert details["mlflow_version"] == "3.17.2"


@pytest.mark.parametrize("bomb", MLMODEL_BOMBS.values(), ids=MLMODEL_BOMBS.keys())
async def test_a_bomb_of_yaml(mlflow_server: MlflowServer, tmp_path: Path, bomb: str) -> None:
    """An MLmodel file of 1 MiB that would take seconds to parse is not shown; the other parts are."""
    name = create_files(mlflow_server, MLmodel=bomb, requirements__txt="numpy\n")
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        answers = await asyncio.gather(*(get(gateway, f"/model/{name}/1") for _ in range(8)))
        async with gateway.get(f"/v2/models/{name}/versions/1") as answer:
            assert answer.status == 502
    for details in answers:
        assert (details["flavors"], details["signature"], details["requirements"]) == (None, None, ["numpy"])


@pytest.mark.parametrize(
    "line", ["numpy; python_version ~= '3'", "numpy==" + "1" * 5000, "numpy; " + "(" * 9000 + ")" * 9000]
)
async def test_an_odd_requirement(mlflow_server: MlflowServer, tmp_path: Path, line: str) -> None:
    """A line that the parser of requirements fails on counts as missing."""
    name = create_files(mlflow_server, requirements__txt=f"numpy\n{line}\n")
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        assert (await get(gateway, f"/model/{name}/1"))["requirements_missing"] == [line]
