"""Proves that the bugs of the replaced service are not repeated. Each docstring names one of its bugs."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.support.gateways import NO_WALL, ROOT, Gateway, gateway_at, invoke
from tests.support.http_clients import post_commands
from tests.support.relay import relay_to
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

in_session = pytest.mark.asyncio(loop_scope="session")


@in_session
async def test_documented_routes_are_the_routes(gateway: Gateway) -> None:
    """It had other routes than its documentation; here both spellings and both orders are routes."""
    for path in (
        "/model/api-sums/latest/invocation",
        "/model/api-sums/invocation/latest",
        "/models/api-sums/latest/invocation",
        "/models/api-sums/2/invocation/",
    ):
        assert (await invoke(gateway, path))[0] == 200, path


@in_session
@pytest.mark.parametrize(("which", "version"), [("latest", "3"), ("best", "2")])
async def test_latest_and_best_predict(gateway: Gateway, which: str, version: str) -> None:
    """It passed a (run, version) pair to inference and failed with 500."""
    status, answer = await invoke(gateway, f"/model/api-sums/{which}/invocation")
    assert (status, answer["model"]["version"]) == (200, version)


@in_session
async def test_files_and_model_are_fetched_and_loaded_once(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """It downloaded and loaded the model on every request."""
    async with relay_to(mlflow_server.url) as relay, gateway_at(relay.url, tmp_path, **NO_WALL) as gateway:
        for _ in range(3):
            assert (await invoke(gateway, "/model/api-cold-once/latest/invocation"))[0] == 200
        files = relay.artifacts()
    assert len(files) == len(set(files))
    assert (mlflow_server.folder / "api-cold-once.loads").read_text() == "loaded\n"


@in_session
async def test_a_slow_model_delays_no_other_request(gateway_without_wall: Gateway, tmp_path: Path) -> None:
    """It predicted on the event loop, and answered no other request meanwhile."""
    gateway = gateway_without_wall
    started, release = tmp_path / "started", tmp_path / "release"
    assert (await invoke(gateway, "/model/api-sums/1/invocation"))[0] == 200
    slow = asyncio.create_task(post_commands(gateway, f"note {started}", f"wait_for {release}"))
    await until(started.exists)
    async with gateway.get("/health/live") as live:
        assert live.status == 200
    assert (await invoke(gateway, "/model/api-sums/1/invocation"))[0] == 200
    assert not slow.done()
    release.touch()
    assert (await slow)[0] == 200


@in_session
async def test_requests_do_not_share_data(gateway: Gateway) -> None:
    """It kept the data of a request on a singleton, and the next request replaced it."""
    columns = ["count", "weight", "label"]

    async def predict(number: int) -> None:
        row = [number, number / 7, f"label {number}"]
        body = json.dumps({"dataframe_split": {"columns": columns, "data": [row]}}).encode()
        status, answer = await invoke(gateway, "/model/api-echo/1/invocation", body)
        assert status == 200
        assert answer["predictions"] == [dict(zip(columns, row, strict=True))]

    await asyncio.gather(*(predict(number) for number in range(32)))


@in_session
@pytest.mark.parametrize("key", ["filename", "model_class", "module", "class_name"])
async def test_no_name_in_a_body_is_imported(gateway: Gateway, key: str) -> None:
    """It imported a module that the body named; `antigravity` would open a browser."""
    body = json.dumps({key: "antigravity", "dataframe_records": [{"a": 1.0, "b": 2.0}]}).encode()
    status, answer = await invoke(gateway, "/model/api-sums/1/invocation", body)
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "antigravity" not in sys.modules


@in_session
async def test_values_are_not_changed(gateway: Gateway) -> None:
    """It changed 1.9 to 1 and "2" to 2; here a value is kept or rejected."""
    kept = {"count": 3, "weight": 1.9, "label": "2"}
    status, answer = await invoke(
        gateway,
        "/model/api-echo/1/invocation",
        json.dumps({"record": [kept], "format": "pandas_record"}).encode(),
    )
    assert (status, answer["predictions"]) == (200, [kept])
    for column, value in (("count", 1.9), ("count", "2"), ("label", 2), ("weight", "1.9")):
        body = json.dumps({"record": [{**kept, column: value}]}).encode()
        status, error = await invoke(gateway, "/model/api-echo/1/invocation", body)
        assert status == 400, (column, value)
        assert [(cell["row"], cell["column"]) for cell in error["details"]] == [(0, column)]


@in_session
async def test_its_bodies_are_still_accepted(gateway: Gateway) -> None:
    """Its clients need not change: they send columns and data, records, or a list of records."""
    row = {"a": 1.0, "b": 2.0}
    for body in (
        {"columns": ["a", "b"], "data": [[1.0, 2.0]]},
        {"columns": ["a", "b"], "data": [[1.0, 2.0]], "format": "pandas_split"},
        {"record": [row]},
        [row],
    ):
        status, answer = await invoke(gateway, "/model/api-sums/1/invocation", json.dumps(body).encode())
        assert (status, answer["predictions"]) == (200, [3.0]), body


@in_session
@pytest.mark.parametrize("version", ["1", "latest", "best"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_what_is_not_here_yet(gateway: Gateway, version: str, slash: str) -> None:
    """`metadata-invocation`, which queried a database; docs/from-radar-base.md says so."""
    path = f"/models/api-sums/{version}/metadata-invocation{slash}"
    body = b'{"filename": "wine_study", "classname": "WineStudy", "dbname": "data", "user_id": "1"}'
    status, error = await invoke(gateway, path, body)
    assert (status, error["error_code"]) == (404, "ENDPOINT_NOT_FOUND")


def test_python_is_recent_and_every_dependency_is_pinned() -> None:
    """It ran on Python 3.8 with the newest versions of its dependencies on the day of the build."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    lock = (ROOT / "requirements.lock").read_text()
    pinned = re.findall(r"^([a-z0-9._-]+)==\S+.*\\\n +--hash=sha256:", lock, re.MULTILINE)
    named = re.findall(r"^([a-z0-9._-]+)[=<>~ @\[]", lock, re.MULTILINE)
    assert len(pinned) > 30
    assert sorted(pinned) == sorted(named)


def test_the_container_is_not_roots() -> None:
    """Its container ran as root."""
    users = re.findall(r"^USER (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert users
    assert users[-1].split(":")[0] not in {"root", "0"}
