"""`mlflow-artifacts:` locations, at a real MLflow server and at one that lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.artifacts.progress import DownloadProgress
from gateway.artifacts.stores.base import MAX_DEPTH
from gateway.artifacts.stores.by_file import FileByFileStore
from gateway.artifacts.stores.mlflow_proxy import MlflowProxyFileStore
from gateway.errors import (
    ArtifactLocationForbidden,
    ArtifactsNotFound,
    BadUpstreamResponse,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gateway.mlflow_client import MlflowClient
from gateway.settings import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.gateway.artifacts.conftest import House
    from tests.support.mlflow_server import MlflowServer

FILES = {"MLmodel": b"flavors: {}\n", "code/deep/n\u00e4me + (1).py": b"x = 1\n", "empty": b""}


@pytest.fixture
def stored(mlflow_server: MlflowServer) -> str:
    """A model's folder in the server's store, with a space in its path; its path there."""
    path = "proxy test/1/artifacts"
    for name, content in FILES.items():
        file = mlflow_server.folder / "artifacts" / path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return path


@pytest.fixture
async def store(mlflow_server: MlflowServer) -> AsyncIterator[FileByFileStore]:
    """The real server's store."""
    async with MlflowClient(load({"MLFLOW_TRACKING_URI": mlflow_server.url}).mlflow) as client:
        yield FileByFileStore(MlflowProxyFileStore(client, mlflow_server.url))


@pytest.mark.parametrize(
    "form", ["mlflow-artifacts:/{}", "mlflow-artifacts:///{}", "mlflow-artifacts://{host}/{}"]
)
async def test_a_model_arrives_from_a_real_server(
    store: FileByFileStore, stored: str, mlflow_server: MlflowServer, *, form: str, tmp_path: Path
) -> None:
    """Folders within folders, odd names, empty files; the host may be named where it is the server's own."""
    uri = form.format(stored, host=mlflow_server.url.removeprefix("http://"))
    tree = await store.find(uri)
    files = await tree.fetch(tmp_path, DownloadProgress("m", total=tree.size, limit=10**6))
    assert {file.path: (tmp_path / file.path).read_bytes() for file in files} == FILES


async def test_an_encoded_path_is_decoded_once(store: FileByFileStore, stored: str) -> None:
    """As MLflow's own client sends it; read as it is written in the location."""
    assert (
        await store.read(f"mlflow-artifacts:/{stored.replace(' ', '%20')}", "MLmodel", limit=100)
        == FILES["MLmodel"]
    )
    assert await store.read(f"mlflow-artifacts:/{stored}", "absent", limit=100) is None


async def test_a_missing_folder_is_gone(store: FileByFileStore) -> None:
    """MLflow lists nothing there."""
    with pytest.raises(ArtifactsNotFound, match="no files"):
        await store.find("mlflow-artifacts:/not/there")


@pytest.mark.parametrize(
    "uri",
    [
        "mlflow-artifacts://elsewhere/1/model",
        "mlflow-artifacts://127.0.0.1:1/1/model",
        "mlflow-artifacts://127.0.0.1:x/1/model",
        "mlflow-artifacts://user:password@127.0.0.1/1/model",
        "mlflow-artifacts:/../secret",
        "mlflow-artifacts:/1/%2e%2e/secret",
        "mlflow-artifacts:/1/a%5cb",
    ],
)
async def test_no_other_server_and_no_way_out(house: House, uri: str) -> None:
    """The tracking server's credentials go nowhere else; nothing is asked of it either."""
    async with MlflowClient(load(house.environment).mlflow) as client:
        store = FileByFileStore(MlflowProxyFileStore(client, house.shelf.url))
        with pytest.raises(ArtifactLocationForbidden) as caught:
            await store.find(uri)
    assert "secret" not in str(caught.value)
    assert "elsewhere" not in str(caught.value)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a\\b", "a\0b", "", ".", "..", "a//b", "x" * 256])
async def test_hostile_names_are_refused(house: House, name: str) -> None:
    """A server may list anything: nothing that could lead out of the folder is fetched or made."""
    house.shelf.model("wine")
    house.shelf.also_listed["wine/data"] = [name]
    cache = await house.cache()
    with pytest.raises(BadUpstreamResponse, match="lead out of its folder"):
        await house.fetch(cache, "wine")
    assert house.shelf.fetched.total() == 0
    assert house.models() == house.leftovers() == []
    assert not (house.folder.parent / "evil").exists()


@pytest.mark.parametrize(
    ("name", "text"), [("model.bin", "twice"), ("model.bin/x", "both as a file and as a folder")]
)
async def test_a_list_that_contradicts_itself_is_refused(house: House, name: str, text: str) -> None:
    """One name twice, or as file and folder."""
    house.shelf.model("wine")
    house.shelf.also_listed["wine/data"] = [name]
    with pytest.raises(BadUpstreamResponse, match=text):
        await house.fetch(await house.cache(), "wine")


async def test_a_list_without_end_is_refused(house: House) -> None:
    """Folders deeper than any model's."""
    house.shelf.model("wine")
    house.shelf.files["wine/" + "d/" * MAX_DEPTH + "file"] = b""
    with pytest.raises(BadUpstreamResponse, match="too deep"):
        await house.fetch(await house.cache(), "wine")


async def test_a_file_that_vanishes_is_the_stores_trouble(house: House) -> None:
    """Listed, and then 404: the message names the file, and nothing is left."""
    house.shelf.model("wine")
    house.shelf.status["wine/data/model.bin"] = 404
    with pytest.raises(BadUpstreamResponse, match=r"data/model\.bin"):
        await house.fetch(await house.cache(), "wine")
    assert house.leftovers() == []


async def test_a_server_in_trouble_is_told_as_such(house: House) -> None:
    """500 on a file."""
    house.shelf.model("wine")
    house.shelf.status["wine/MLmodel"] = 500
    with pytest.raises((BadUpstreamResponse, UpstreamUnavailable)):
        await house.fetch(await house.cache(), "wine")
    assert house.leftovers() == []


async def test_a_server_that_falls_silent_leaves_nothing(house: House) -> None:
    """Half a file and then nothing: the client's time limit ends it."""
    house.shelf.model("wine")
    house.shelf.gate("wine/data/model.bin")
    house.extra = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "0.3"}
    with pytest.raises(UpstreamTimeout):
        await house.fetch(await house.cache(), "wine")
    assert house.leftovers() == []
