"""Proves that the replaced service's bugs are not inherited; each test would catch one of them."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.support.gateways import ROOT, Gateway, gateway_at, invoke
from tests.support.relay import relay_to

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

in_session = pytest.mark.asyncio(loop_scope="session")


@in_session
async def test_documented_routes_are_the_routes(gateway: Gateway) -> None:
    """Its code had other routes than its documents: here both spellings and both orders are served."""
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
    """It handed a (run, version) pair to inference and answered 500."""
    status, answer = await invoke(gateway, f"/model/api-sums/{which}/invocation")
    assert (status, answer["model"]["version"]) == (200, version)


@in_session
async def test_files_and_model_are_fetched_and_loaded_once(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """It downloaded and loaded the model on every request."""
    async with relay_to(mlflow_server.url) as relay, gateway_at(relay.url, tmp_path) as gateway:
        for _ in range(3):
            assert (await invoke(gateway, "/model/api-cold-once/latest/invocation"))[0] == 200
        files = relay.artifacts()
    assert len(files) == len(set(files))
    assert (mlflow_server.folder / "api-cold-once.loads").read_text() == "loaded\n"


@in_session
async def test_a_slow_model_holds_up_nobody(gateway: Gateway) -> None:
    """It predicted on the event loop: meanwhile nothing else was answered."""
    path = "/model/api-commands/1/invocation"
    assert (await invoke(gateway, path, b'{"inputs": [{"do": "sleep 0"}]}'))[0] == 200
    assert (await invoke(gateway, "/model/api-sums/1/invocation"))[0] == 200
    slow = asyncio.create_task(invoke(gateway, path, b'{"inputs": [{"do": "sleep 2"}]}'))
    await asyncio.sleep(0.1)
    async with gateway.get("/health/live") as live:
        assert live.status == 200
    assert (await invoke(gateway, "/model/api-sums/1/invocation"))[0] == 200
    assert not slow.done()
    assert (await slow)[0] == 200


@in_session
async def test_requests_do_not_share_data(gateway: Gateway) -> None:
    """It kept a request's data on a singleton, where the next request's replaced it."""
    columns = ["count", "weight", "label"]

    async def ask(number: int) -> None:
        row = [number, number / 7, f"label {number}"]
        body = json.dumps({"dataframe_split": {"columns": columns, "data": [row]}}).encode()
        status, answer = await invoke(gateway, "/model/api-echo/1/invocation", body)
        assert status == 200
        assert answer["predictions"] == [dict(zip(columns, row, strict=True))]

    await asyncio.gather(*(ask(number) for number in range(32)))


@in_session
@pytest.mark.parametrize("key", ["filename", "model_class", "module", "class_name"])
async def test_no_name_in_a_body_is_imported(gateway: Gateway, key: str) -> None:
    """It imported the module that the body named; `antigravity` would open a browser."""
    body = json.dumps({key: "antigravity", "dataframe_records": [{"a": 1.0, "b": 2.0}]}).encode()
    status, answer = await invoke(gateway, "/model/api-sums/1/invocation", body)
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "antigravity" not in sys.modules


@in_session
async def test_values_are_not_changed(gateway: Gateway) -> None:
    """It turned 1.9 into 1 and "2" into 2; here each is kept or refused."""
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
async def test_its_own_bodies_are_still_taken(gateway: Gateway) -> None:
    """Its clients need not change: columns and data, records, a bare list."""
    row = {"a": 1.0, "b": 2.0}
    for body in (
        {"columns": ["a", "b"], "data": [[1.0, 2.0]]},
        {"columns": ["a", "b"], "data": [[1.0, 2.0]], "format": "pandas_split"},
        {"record": [row]},
        [row],
    ):
        status, answer = await invoke(gateway, "/model/api-sums/1/invocation", json.dumps(body).encode())
        assert (status, answer["predictions"]) == (200, [3.0]), body


def test_python_is_recent_and_every_dependency_is_pinned() -> None:
    """It ran on Python 3.8 with whatever versions there were that day."""
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
