"""Proves how `mlflow-artifacts:` locations are read from a real server and from a hostile one."""

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

    from tests.gateway.artifacts.conftest import CacheHarness
    from tests.support.mlflow_server import MlflowServer

FILES = {"MLmodel": b"flavors: {}\n", "code/deep/n\u00e4me + (1).py": b"x = 1\n", "empty": b""}


@pytest.fixture
def stored(mlflow_server: MlflowServer) -> str:
    """The path of a model's folder in the server's store, with a space in it."""
    path = "proxy test/1/artifacts"
    for name, content in FILES.items():
        file = mlflow_server.folder / "artifacts" / path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return path


@pytest.fixture
async def store(mlflow_server: MlflowServer) -> AsyncIterator[FileByFileStore]:
    """A store of the real server."""
    async with MlflowClient(load({"MLFLOW_TRACKING_URI": mlflow_server.url}).mlflow) as client:
        yield FileByFileStore(MlflowProxyFileStore(client, mlflow_server.url))


@pytest.mark.parametrize(
    "form", ["mlflow-artifacts:/{}", "mlflow-artifacts:///{}", "mlflow-artifacts://{host}/{}"]
)
async def test_a_model_is_downloaded_from_a_real_server(
    store: FileByFileStore, stored: str, mlflow_server: MlflowServer, *, form: str, tmp_path: Path
) -> None:
    """With nested folders, odd names and empty files; the location may name the server's own host."""
    uri = form.format(stored, host=mlflow_server.url.removeprefix("http://"))
    model = await store.find(uri)
    files = await model.fetch(tmp_path, DownloadProgress("m", total=model.size, limit=10**6))
    assert {file.path: (tmp_path / file.path).read_bytes() for file in files} == FILES


async def test_an_encoded_path_is_decoded_once(store: FileByFileStore, stored: str) -> None:
    """MLflow's client encodes the path; a location without encoding is read as well."""
    assert (
        await store.read(f"mlflow-artifacts:/{stored.replace(' ', '%20')}", "MLmodel", limit=100)
        == FILES["MLmodel"]
    )
    assert await store.read(f"mlflow-artifacts:/{stored}", "absent", limit=100) is None


async def test_a_missing_folder_is_not_found(store: FileByFileStore) -> None:
    """MLflow lists no files in it."""
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
async def test_another_server_or_an_unsafe_path_is_rejected(harness: CacheHarness, uri: str) -> None:
    """The tracking server's credentials are sent to no other server."""
    async with MlflowClient(load(harness.environment).mlflow) as client:
        store = FileByFileStore(MlflowProxyFileStore(client, harness.server.url))
        with pytest.raises(ArtifactLocationForbidden) as caught:
            await store.find(uri)
    assert "secret" not in str(caught.value)
    assert "elsewhere" not in str(caught.value)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a\\b", "a\0b", "", ".", "..", "a//b", "x" * 256])
async def test_hostile_names_are_rejected(harness: CacheHarness, name: str) -> None:
    """A listed name that could lead out of the folder is neither downloaded nor created."""
    harness.server.add_model("wine")
    harness.server.extra_listed["wine/data"] = [name]
    cache = await harness.open_cache()
    with pytest.raises(BadUpstreamResponse, match="lead out of its folder"):
        await harness.fetch(cache, "wine")
    assert harness.server.downloads.total() == 0
    assert harness.models() == harness.partial_files() == []
    assert not (harness.folder.parent / "evil").exists()


@pytest.mark.parametrize(
    ("name", "text"), [("model.bin", "twice"), ("model.bin/x", "both as a file and as a folder")]
)
async def test_a_contradictory_list_is_rejected(harness: CacheHarness, name: str, text: str) -> None:
    """A name that is listed twice, or both as a file and as a folder."""
    harness.server.add_model("wine")
    harness.server.extra_listed["wine/data"] = [name]
    with pytest.raises(BadUpstreamResponse, match=text):
        await harness.fetch(await harness.open_cache(), "wine")


async def test_too_deep_folders_are_rejected(harness: CacheHarness) -> None:
    """The depth of the listed folders is limited, so that the listing ends."""
    harness.server.add_model("wine")
    harness.server.files["wine/" + "d/" * MAX_DEPTH + "file"] = b""
    with pytest.raises(BadUpstreamResponse, match="too deep"):
        await harness.fetch(await harness.open_cache(), "wine")


async def test_a_listed_file_that_is_missing_is_an_upstream_error(harness: CacheHarness) -> None:
    """It is listed and then answered with 404: the message names the file, and nothing is left."""
    harness.server.add_model("wine")
    harness.server.statuses["wine/data/model.bin"] = 404
    with pytest.raises(BadUpstreamResponse, match=r"data/model\.bin"):
        await harness.fetch(await harness.open_cache(), "wine")
    assert harness.partial_files() == []


async def test_an_error_of_the_server_is_an_upstream_error(harness: CacheHarness) -> None:
    """It answers with 500 for a file."""
    harness.server.add_model("wine")
    harness.server.statuses["wine/MLmodel"] = 500
    with pytest.raises((BadUpstreamResponse, UpstreamUnavailable)):
        await harness.fetch(await harness.open_cache(), "wine")
    assert harness.partial_files() == []


async def test_a_stalled_server_leaves_nothing(harness: CacheHarness) -> None:
    """It sends half a file and then nothing: the client's time limit ends the download."""
    harness.server.add_model("wine")
    harness.server.add_gate("wine/data/model.bin")
    harness.variables = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "0.3"}
    with pytest.raises(UpstreamTimeout):
        await harness.fetch(await harness.open_cache(), "wine")
    assert harness.partial_files() == []
