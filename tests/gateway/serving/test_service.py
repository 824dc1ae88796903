"""Proves how the service predicts: what a version's tags decide, and what happens when slots are few."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from gateway.artifacts.cache import ArtifactCache
from tests.support.gateways import gateway_at, invoke

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer
    from workers.protocol.messages import ModelKey

LOSSY = b'{"dataframe_records": [{"count": 2.7, "weight": 1.0, "label": "x"}]}'


def registered_again(server: MlflowServer, source: str, **tags: str) -> str:
    """Register a new model with the files of version 1 of `source`, and return its name."""
    name = f"serving-{uuid.uuid4().hex[:8]}"
    version = server.call(f"model-versions/get?name={source}&version=1", {}, method="GET")["model_version"]
    server.call("registered-models/create", {"name": name})
    tag_list = [{"key": key.replace("_", "."), "value": value} for key, value in tags.items()]
    model_id = version["source"].removeprefix("models:/")
    server.call(
        "model-versions/create",
        {"name": name, "source": version["source"], "model_id": model_id, "tags": tag_list},
    )
    return name


async def test_a_versions_tag_decides_on_its_input_checks(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """The default is strict; a version whose tag says mlflow gets MLflow's own lossy cast."""
    server = mlflow_server
    name = registered_again(server, "api-echo")
    server.call(
        "model-versions/set-tag",
        {"name": name, "version": "1", "key": "gateway.input_checks", "value": "mlflow"},
    )
    async with gateway_at(server.url, tmp_path) as gateway:
        status, rejected = await invoke(gateway, "/model/api-echo/1/invocation", LOSSY)
        assert status == 400
        assert rejected["details"][0]["column"] == "count"
        status, answer = await invoke(gateway, f"/model/{name}/1/invocation", LOSSY)
        assert status == 200
        assert answer["predictions"][0]["count"] == 2


async def test_the_setting_decides_if_no_tag_does(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """`GATEWAY_INPUT_CHECKS=mlflow` holds for every version without the tag."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_INPUT_CHECKS="mlflow") as gateway:
        status, answer = await invoke(gateway, "/model/api-echo/1/invocation", LOSSY)
        assert status == 200
        assert answer["predictions"][0]["count"] == 2


async def test_a_versions_tag_decides_on_its_batching(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """The tag `gateway.batching` wins over the setting, which wins over the automatic decision."""
    server = mlflow_server
    tagged = {value: registered_again(server, "api-sums", gateway_batching=value) for value in ("on", "off")}
    together = {}
    async with gateway_at(server.url, tmp_path, GATEWAY_BATCHING="on") as gateway:
        for name in ("api-tens", *tagged.values()):
            assert (await invoke(gateway, f"/model/{name}/1/invocation"))[0] == 200
            async with gateway.get(f"/model/{name}/1") as response:
                together[name] = (await response.json())["serving"]["batching"]["rows_together"]
    assert together == {"api-tens": True, tagged["on"]: True, tagged["off"]: False}


async def test_an_unknown_tag_value_is_logged(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A misspelt value leaves the default, and the log names the possible values."""
    name = registered_again(mlflow_server, "api-sums", gateway_batching="ON")
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        assert (await invoke(gateway, f"/model/{name}/1/invocation"))[0] == 200
    assert "gateway.batching='ON', which is none of auto, on, off" in caplog.text


async def test_models_take_turns_in_one_slot(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """More models than slots, requested at once: each is answered, none fails because it was unloaded."""
    paths = ["/model/api-sums/1/invocation", "/model/api-tens/1/invocation", "/model/api-sums/3/invocation"]
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_MAX_LOADED_MODELS="1") as gateway:
        answers = await asyncio.gather(*(invoke(gateway, path) for path in paths * 2))
        assert [answer["predictions"] for status, answer in answers if status == 200] == [
            [3.0, 7.0],
            [30.0, 70.0],
            [9.0, 21.0],
        ] * 2


async def test_a_loaded_version_is_not_loaded_again(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests to load a version that is loaded, and several first ones at once, lease its files once."""
    leased: list[ModelKey] = []
    lease = ArtifactCache.lease

    def counted(cache: ArtifactCache, key: ModelKey, locate: Any) -> AbstractAsyncContextManager[Path]:
        leased.append(key)
        return lease(cache, key, locate)

    monkeypatch.setattr(ArtifactCache, "lease", counted)
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        for requests in (3, 2):
            load = "/v2/repository/models/api-sums/load"
            responses = await asyncio.gather(*(gateway.post(load) for _ in range(requests)))
            assert {response.status for response in responses} == {200}
        assert (await invoke(gateway, "/model/api-sums/latest/invocation"))[0] == 200
    assert len(leased) == 1


@pytest.mark.parametrize("error", [None, OSError("odd"), UnicodeDecodeError("utf-8", b"", 0, 1, "odd")])
async def test_missing_requirements_are_looked_up_once(
    mlflow_server: MlflowServer,
    registered: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception | None,
) -> None:
    """Repeated requests for a model that fails to load look once; a failed look hides no load failure."""
    paths: list[str] = []
    read_file = ArtifactCache.read_file

    async def counted(
        cache: ArtifactCache, key: ModelKey, locate: Any, path: str, **options: int
    ) -> bytes | None:
        paths.append(path)
        if error is not None:
            raise error
        return await read_file(cache, key, locate, path, **options)

    monkeypatch.setattr(ArtifactCache, "read_file", counted)
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        answers = [await invoke(gateway, "/model/api-lacking/1/invocation") for _ in range(4)]
    assert paths == ["requirements.txt"]
    assert {status for status, _ in answers} == {424}
    (message,) = {answer["message"] for _, answer in answers}
    assert "a_missing_package" in message
    assert ("pip install" in message) == (error is None)
