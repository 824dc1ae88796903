"""The story of a prediction over real rooms: what a version's tags say, and who gives up a place."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from gateway.artifacts.cache import ArtifactCache
from tests.support.gateways import gateway_at, invoke

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer
    from workers.protocol.messages import ModelKey

LOSSY = b'{"dataframe_records": [{"count": 2.7, "weight": 1.0, "label": "x"}]}'


def registered_again(server: MlflowServer, source: str, **tags: str) -> str:
    """A new registered model of the files that version 1 of `source` has; its name."""
    name = f"serving-{uuid.uuid4().hex[:8]}"
    version = server.call(f"model-versions/get?name={source}&version=1", {}, method="GET")["model_version"]
    server.call("registered-models/create", {"name": name})
    told = [{"key": key.replace("_", "."), "value": value} for key, value in tags.items()]
    model_id = version["source"].removeprefix("models:/")
    server.call(
        "model-versions/create",
        {"name": name, "source": version["source"], "model_id": model_id, "tags": told},
    )
    return name


async def test_a_versions_tag_decides_on_its_input_checks(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """Strict is the default; a version that asks for MLflow's own checks gets MLflow's lossy cast."""
    server = mlflow_server
    name = registered_again(server, "api-echo")
    server.call(
        "model-versions/set-tag",
        {"name": name, "version": "1", "key": "gateway.input_checks", "value": "mlflow"},
    )
    async with gateway_at(server.url, tmp_path) as gateway:
        status, refused = await invoke(gateway, "/model/api-echo/1/invocation", LOSSY)
        assert status == 400
        assert refused["details"][0]["column"] == "count"
        status, taken = await invoke(gateway, f"/model/{name}/1/invocation", LOSSY)
        assert status == 200
        assert taken["predictions"][0]["count"] == 2


async def test_the_setting_decides_where_no_tag_does(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """`GATEWAY_INPUT_CHECKS=mlflow` is for every version that says nothing."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_INPUT_CHECKS="mlflow") as gateway:
        status, taken = await invoke(gateway, "/model/api-echo/1/invocation", LOSSY)
        assert status == 200
        assert taken["predictions"][0]["count"] == 2


async def test_a_versions_tag_decides_on_its_batching(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """`gateway.batching` wins over the setting, which wins over what is proven."""
    server = mlflow_server
    tagged = {wish: registered_again(server, "api-sums", gateway_batching=wish) for wish in ("on", "off")}
    told = {}
    async with gateway_at(server.url, tmp_path, GATEWAY_BATCHING="on") as gateway:
        for name in ("api-tens", *tagged.values()):
            assert (await invoke(gateway, f"/model/{name}/1/invocation"))[0] == 200
            async with gateway.get(f"/model/{name}/1") as answer:
                told[name] = (await answer.json())["serving"]["batching"]["rows_together"]
    assert told == {"api-tens": True, tagged["on"]: True, tagged["off"]: False}


async def test_a_tag_that_is_not_known_is_told(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A misspelt one leaves the default, and the log says what it could be."""
    name = registered_again(mlflow_server, "api-sums", gateway_batching="ON")
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        assert (await invoke(gateway, f"/model/{name}/1/invocation"))[0] == 200
    assert "gateway.batching='ON', which is none of auto, on, off" in caplog.text


async def test_models_take_turns_where_there_is_room_for_one(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """More models than places, asked at once: each is answered, none fails for being unloaded."""
    paths = ["/model/api-sums/1/invocation", "/model/api-tens/1/invocation", "/model/api-sums/3/invocation"]
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_MAX_LOADED_MODELS="1") as gateway:
        answers = await asyncio.gather(*(invoke(gateway, path) for path in paths * 2))
        assert [answer["predictions"] for status, answer in answers if status == 200] == [
            [3.0, 7.0],
            [30.0, 70.0],
            [9.0, 21.0],
        ] * 2


@pytest.mark.parametrize("trouble", [None, OSError("odd"), UnicodeDecodeError("utf-8", b"", 0, 1, "odd")])
async def test_what_would_help_is_looked_for_once(
    mlflow_server: MlflowServer,
    registered: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Exception | None,
) -> None:
    """However often a model is asked that cannot be loaded; a failure to look hides no failure to load."""
    looked: list[str] = []
    read = ArtifactCache.read_file

    async def counted(
        cache: ArtifactCache, key: ModelKey, locate: Any, path: str, **more: int
    ) -> bytes | None:
        looked.append(path)
        if trouble is not None:
            raise trouble
        return await read(cache, key, locate, path, **more)

    monkeypatch.setattr(ArtifactCache, "read", counted)
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        told = [await invoke(gateway, "/model/api-lacking/1/invocation") for _ in range(4)]
    assert looked == ["requirements.txt"]
    assert {status for status, _ in told} == {424}
    (message,) = {answer["message"] for _, answer in told}
    assert "a_package_that_nobody_has" in message
    assert ("pip install" in message) == (trouble is None)
