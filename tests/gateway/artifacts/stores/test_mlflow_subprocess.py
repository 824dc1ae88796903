"""Locations that only MLflow itself can read: a process of its own for each download."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.artifacts.progress import DownloadProgress
from gateway.artifacts.stores.mlflow_subprocess import MlflowSubprocessStore
from gateway.errors import ArtifactsNotFound, BadUpstreamResponse, CacheFull, UpstreamTimeout
from tests.gateway.artifacts.conftest import key
from tests.support.mlflow_server import environment

if TYPE_CHECKING:
    from tests.gateway.artifacts.conftest import House
    from tests.support.mlflow_server import MlflowServer

FILES = {"MLmodel": b"flavors: {}\n", "code/a.py": b"x = 1\n", "data/model.bin": b"0123456789" * 30_000}

SECRETS = {"MLFLOW_TRACKING_TOKEN": "t", "MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_TRACKING_PASSWORD": "p"}


@pytest.fixture
def store() -> MlflowSubprocessStore:
    """A store with this process's environment."""
    return MlflowSubprocessStore(environment())


@pytest.fixture
def uri(mlflow_server: MlflowServer) -> str:
    """A model's folder that MLflow's code for http locations can read."""
    for name, content in FILES.items():
        file = mlflow_server.folder / "artifacts" / "by-http" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return f"{mlflow_server.url}/api/2.0/mlflow-artifacts/artifacts/by-http"


def children() -> set[int]:
    """The processes that this one has started and not yet seen end."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has ended since
            found.update(map(int, (task / "children").read_text().split()))
    return found


async def test_a_model_arrives_through_the_cache(house: House, uri: str) -> None:
    """Each file in its place below the model's folder, nothing beside it, and no process left."""
    before = children()
    house.extra = {"GATEWAY_ARTIFACT_SCHEMES": "http", **environment()}
    cache = await house.cache()

    async def locate() -> str:
        return uri

    async with cache.lease(key("m"), locate) as folder:
        found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        assert {name: path.read_bytes() for name, path in found.items()} == FILES
    assert house.leftovers() == []
    assert children() == before


async def test_a_full_disk_is_told_as_such(house: House, uri: str, small_disk: Path) -> None:
    """However MLflow's code wraps it: CacheFull, and nothing of the download is left."""
    house.folder = small_disk / "cache"
    house.extra = {"GATEWAY_ARTIFACT_SCHEMES": "http", **environment()}
    cache = await house.cache()
    (small_disk / "foreign").write_bytes(b"x" * (2 * 2**20 - 100_000))

    async def locate() -> str:
        return uri

    with pytest.raises(CacheFull, match="disk of the artifact cache is full"):
        async with cache.lease(key("m"), locate):
            raise AssertionError("there is no room")
    assert house.leftovers() == []
    await cache.close()


async def test_one_file_is_read_alone(store: MlflowSubprocessStore, uri: str) -> None:
    """None where MLflow lists none, refused over the limit; in parallel, a process each."""
    found, absent, large = await asyncio.gather(
        store.read(uri, "code/a.py", limit=100),
        store.read(uri, "absent", limit=100),
        store.read(uri, "data/model.bin", limit=100),
        return_exceptions=True,
    )
    assert found == b"x = 1\n"
    assert absent is None
    assert isinstance(large, BadUpstreamResponse)


async def test_what_mlflow_cannot_fetch_is_told(
    store: MlflowSubprocessStore, uri: str, *, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The exception's type for the client, its text and trace for the log; and a place that has no model."""
    outcomes = await asyncio.gather(
        fetch(store, "http://127.0.0.1:1/secret", tmp_path / "a"),
        fetch(store, f"{uri}/code", tmp_path / "b"),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [BadUpstreamResponse, ArtifactsNotFound]
    assert "Error" in str(outcomes[0])
    assert "secret" not in str(outcomes[0])
    assert "Traceback" in caplog.text


async def test_a_process_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """It is gone when the error comes."""
    before = children()
    with pytest.raises(UpstreamTimeout):
        await fetch(
            MlflowSubprocessStore(environment(), download_timeout=0.1), "http://127.0.0.1:1/x", tmp_path / "a"
        )
    assert children() == before


@pytest.mark.parametrize("end", ["cancelled", "over the bound"])
async def test_a_download_that_is_given_up_ends_its_process(house: House, tmp_path: Path, end: str) -> None:
    """Half way; a download of unknown size is watched as it grows, and need not end to be too large.

    Nor does MLflow send the tracking server's credentials to the host that the location names.
    """
    house.shelf.files = {"m/MLmodel": b"x", "m/large": 3_000_000}
    gate = house.shelf.gate("m/large")
    uri = f"{house.shelf.url}/api/2.0/mlflow-artifacts/artifacts/m"
    before = children()
    limit = 10**9 if end == "cancelled" else 1_000_000
    store = MlflowSubprocessStore({**environment(), **SECRETS, "HOME": str(tmp_path)})
    task = asyncio.create_task(fetch(store, uri, tmp_path / "a", limit=limit))
    await gate.reached.wait()
    if end == "cancelled":
        task.cancel()
    with pytest.raises(asyncio.CancelledError if end == "cancelled" else CacheFull):
        await task
    assert children() == before
    assert set(house.shelf.heard) == {""}


async def test_the_process_ends_when_its_asker_does() -> None:
    """The end of its standard input is the end of its work, whatever it is doing."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "gateway.artifacts.stores.mlflow_child"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment(),
    )
    said, _ = await asyncio.wait_for(
        process.communicate(b'{"uri": "http://127.0.0.1:1/x", "folder": "/nowhere/x"}\n'), 20
    )
    assert process.returncode == 1
    assert said == b""


async def fetch(store: MlflowSubprocessStore, uri: str, folder: Path, *, limit: int = 10**9) -> None:
    """Everything at `uri` to a new folder's folder `files`."""
    (folder / "files").mkdir(parents=True)
    tree = await store.find(uri)
    await tree.fetch(folder / "files", DownloadProgress("m", total=None, limit=limit))
