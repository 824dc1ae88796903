"""Proves that locations that only MLflow's code can read are downloaded by a process of its own."""

from __future__ import annotations

import asyncio
import json
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
from workers.wall import support

if TYPE_CHECKING:
    from tests.gateway.artifacts.conftest import CacheHarness
    from tests.support.mlflow_server import MlflowServer
    from workers.wall.policy import WallMode

FILES = {"MLmodel": b"flavors: {}\n", "code/a.py": b"x = 1\n", "data/model.bin": b"0123456789" * 30_000}

SECRETS = {"MLFLOW_TRACKING_TOKEN": "t", "MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_TRACKING_PASSWORD": "p"}


@pytest.fixture
def store() -> MlflowSubprocessStore:
    """A store with this process' environment."""
    return MlflowSubprocessStore(environment())


@pytest.fixture
def uri(mlflow_server: MlflowServer) -> str:
    """The URI of a model's folder that MLflow's code for http locations can read."""
    for name, content in FILES.items():
        file = mlflow_server.folder / "artifacts" / "by-http" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return f"{mlflow_server.url}/api/2.0/mlflow-artifacts/artifacts/by-http"


def children() -> set[int]:
    """Return the ids of this process' children."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has ended since
            found.update(map(int, (task / "children").read_text().split()))
    return found


async def test_a_model_is_downloaded_through_the_cache(harness: CacheHarness, uri: str) -> None:
    """The folder has exactly the model's files, and no process is left."""
    before = children()
    harness.variables = {"GATEWAY_ARTIFACT_SCHEMES": "http", **environment()}
    cache = await harness.open_cache()

    async def locate() -> str:
        return uri

    async with cache.lease(key("m"), locate) as folder:
        found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        assert {name: path.read_bytes() for name, path in found.items()} == FILES
    assert harness.partial_files() == []
    assert children() == before


async def test_a_full_disk_is_reported_as_such(harness: CacheHarness, uri: str, small_disk: Path) -> None:
    """Even though MLflow wraps the error: it becomes CacheFull, and no partial files are left."""
    harness.folder = small_disk / "cache"
    harness.variables = {"GATEWAY_ARTIFACT_SCHEMES": "http", **environment()}
    cache = await harness.open_cache()
    (small_disk / "foreign").write_bytes(b"x" * (2 * 2**20 - 100_000))

    async def locate() -> str:
        return uri

    with pytest.raises(CacheFull, match="disk of the artifact cache is full"):
        async with cache.lease(key("m"), locate):
            raise AssertionError("the disk is not full")
    assert harness.partial_files() == []
    await cache.close()


@pytest.mark.slow
async def test_one_file_is_read_alone(store: MlflowSubprocessStore, uri: str) -> None:
    """None if MLflow lists none, an error over the limit; concurrent reads have a process each."""
    found, absent, large = await asyncio.gather(
        store.read(uri, "code/a.py", limit=100),
        store.read(uri, "absent", limit=100),
        store.read(uri, "data/model.bin", limit=100),
        return_exceptions=True,
    )
    assert found == b"x = 1\n"
    assert absent is None
    assert isinstance(large, BadUpstreamResponse)


@pytest.mark.slow
async def test_a_failed_download_is_reported(
    store: MlflowSubprocessStore, uri: str, *, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets the exception's type, the log its traceback; a folder without a model is not found."""
    outcomes = await asyncio.gather(
        fetch(store, "http://127.0.0.1:1/secret", tmp_path / "a"),
        fetch(store, f"{uri}/code", tmp_path / "b"),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [BadUpstreamResponse, ArtifactsNotFound]
    assert "Error" in str(outcomes[0])
    assert "secret" not in str(outcomes[0])
    assert "Traceback" in caplog.text


async def test_a_process_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    """It has ended when the error is raised."""
    before = children()
    with pytest.raises(UpstreamTimeout):
        await fetch(
            MlflowSubprocessStore(environment(), download_timeout=0.1), "http://127.0.0.1:1/x", tmp_path / "a"
        )
    assert children() == before


@pytest.mark.parametrize("end", ["cancelled", "over the limit"])
async def test_an_aborted_download_kills_its_process(harness: CacheHarness, tmp_path: Path, end: str) -> None:
    """Whether its caller is cancelled or its growing files exceed the limit.

    MLflow does not send the tracking server's credentials to the location's host.
    """
    harness.server.files = {"m/MLmodel": b"x", "m/large": 3_000_000}
    gate = harness.server.add_gate("m/large")
    uri = f"{harness.server.url}/api/2.0/mlflow-artifacts/artifacts/m"
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
    assert set(harness.server.authorizations) == {""}


async def test_the_process_ends_when_its_input_closes(tmp_path: Path) -> None:
    """At any time, whatever it does then."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "gateway.artifacts.stores.mlflow_child"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment(),
    )
    request = {"uri": "http://127.0.0.1:1/x", "folder": "/nowhere/x", "scratch": str(tmp_path)}
    request |= {"environment": environment(), "files": {}, "links": {}}  # type: ignore[dict-item] # JSON
    stdout, _ = await asyncio.wait_for(process.communicate(json.dumps(request).encode() + b"\n"), 60)
    assert process.returncode == 1
    assert stdout == b"ready\n"


async def fetch(store: MlflowSubprocessStore, uri: str, folder: Path, *, limit: int = 10**9) -> None:
    """Download the model at `uri` to the folder `files` in `folder`."""
    (folder / "files").mkdir(parents=True)
    model = await store.find(uri)
    await model.fetch(folder / "files", DownloadProgress("m", total=None, limit=limit))


@pytest.mark.skipif(not support.detect().complete, reason="this kernel confines no process wholly")
@pytest.mark.parametrize(("wall", "reads"), [("auto", False), ("off", True)])
async def test_a_download_reaches_nothing_of_this_machine(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, wall: WallMode, reads: bool
) -> None:
    """MLflow's own code, led to another folder of this machine, is refused by the kernel."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "MLmodel").write_text("flavors: {}")
    (tmp_path / "target").mkdir()
    store = MlflowSubprocessStore(environment(), wall=wall)
    request = {"uri": secret.as_uri(), "folder": str(tmp_path / "target" / "files")}
    if reads:
        assert await store.download(request) == "done"
    else:
        with pytest.raises(BadUpstreamResponse):
            await store.download(request)
        assert "Permission denied" in caplog.text or "No such file" in caplog.text
    assert (tmp_path / "target" / "files").exists() == reads
