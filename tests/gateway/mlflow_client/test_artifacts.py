"""Proves that artifacts are listed and streamed from a real MLflow server."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from gateway.errors import BadUpstreamResponse, NotFound
from gateway.mlflow_client import ArtifactEntry, MlflowClient
from gateway.settings import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

ODD = "näme with + (1).bin"


@pytest.fixture(scope="module")
def stored(mlflow_server: MlflowServer) -> Path:
    """A folder `odd` in the server's store with a file of 3 MiB, an empty file and a subfolder."""
    folder = mlflow_server.folder / "artifacts" / "odd"
    (folder / "sub").mkdir(parents=True)
    (folder / ODD).write_bytes(bytes(range(256)) * 4096 * 3)
    (folder / "empty").touch()
    (folder / "sub" / "MLmodel").write_text("flavors: {}\n")
    return folder


@pytest.fixture
async def client(mlflow_server: MlflowServer) -> AsyncIterator[MlflowClient]:
    async with MlflowClient(load({"MLFLOW_TRACKING_URI": mlflow_server.url}).mlflow) as client:
        yield client


async def test_a_folder_is_listed_one_level_deep(client: MlflowClient, stored: Path) -> None:
    """Names are relative to the folder; MLflow omits the size of an empty file."""
    found = sorted(await client.list_artifacts("odd"), key=lambda entry: entry.path)
    assert found == [
        ArtifactEntry("empty", is_dir=False, size=None),
        ArtifactEntry(ODD, is_dir=False, size=3 * 2**20),
        ArtifactEntry("sub", is_dir=True, size=None),
    ]


async def test_a_missing_folder_lists_nothing(client: MlflowClient) -> None:
    """MLflow's response is an empty object, not an error."""
    assert await client.list_artifacts("not/there") == []


async def test_a_file_is_streamed_in_small_chunks(client: MlflowClient, stored: Path) -> None:
    """In chunks of at most 1 MiB, with the right size, even if its name is odd."""
    digest, largest = hashlib.sha256(), 0
    async with client.stream_artifact(f"odd/{ODD}") as stream:
        assert stream.size == 3 * 2**20
        async for chunk in stream:
            digest.update(chunk)
            largest = max(largest, len(chunk))
    assert digest.digest() == hashlib.sha256((stored / ODD).read_bytes()).digest()
    assert 0 < largest <= 2**20


async def test_a_missing_file_is_not_found(client: MlflowClient) -> None:
    """The server's 404 becomes the gateway's NotFound."""
    with pytest.raises(NotFound):
        async with client.stream_artifact("odd/nothing"):
            raise AssertionError("a missing file has no body")


@pytest.mark.parametrize("path", ["a/../b", "..", "a//b", "a/./b", "a\\b", ""])
async def test_a_path_that_leaves_its_folder_is_never_sent(client: MlflowClient, path: str) -> None:
    """A path may come from a hostile store, and a proxy would resolve the dots in it."""
    with pytest.raises(BadUpstreamResponse, match="leads out"):
        async with client.stream_artifact(path):
            raise AssertionError("the path was sent")
