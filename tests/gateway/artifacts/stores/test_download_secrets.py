"""Proves that a process that downloads by MLflow's own code shows its secrets to no process of its user."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from base64 import b64encode
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.artifacts.progress import DownloadProgress
from gateway.artifacts.stores.mlflow_subprocess import MlflowSubprocessStore
from tests.support import ordinary_user
from tests.support.commands import descendants, still_running
from tests.support.mlflow_server import environment

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.gateway.artifacts.conftest import CacheHarness

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /proc")

SECRET = "hunter2-in-the-environment"  # noqa: S105 - not a real one
PASSWORD = "hunter2-in-a-file"  # noqa: S105 - likewise
SECRETS = {"AWS_SECRET_ACCESS_KEY": SECRET, "AZURE_STORAGE_ACCESS_KEY": SECRET, "GOOGLE_X": SECRET}
HIDDEN = {
    "environ",
    "memory",
    "descriptors",
    "descriptors' positions",
    "input",
    "folder",
    "trace",
    "take its input",
}


@contextmanager
def downloading(uri: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a program that downloads `uri` with secrets."""
    # No secret in its own environment: that program is no gateway.
    clean = {name: value for name, value in environment().items() if name in {"PATH", "LANG"}}
    with ordinary_user.start("downloads", env=clean | {"TMPDIR": str(folder)}) as process:
        try:
            request = {
                "uri": uri,
                "folder": str(folder),
                "environment": clean | SECRETS | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"},
                "files": {"NETRC": f"machine 127.0.0.1 login ann password {PASSWORD}\n"},
            }
            assert process.stdin is not None
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            yield process
        finally:
            process.kill()


async def spy_on(pid: int, env: dict[str, str] | None = None) -> dict[str, Any]:
    """Return what another process of the ordinary user learns of the process."""
    process = ordinary_user.start("spies", str(pid), env=env)
    output, _ = await asyncio.to_thread(process.communicate)
    found: dict[str, Any] = json.loads(output)
    return found


def gated_model(harness: CacheHarness) -> str:
    """Add a model, whose second file never ends until its gate is opened, and return its URI."""
    harness.server.files = {"m/MLmodel": b"flavors: {}\n", "m/large": 3_000_000}
    return f"{harness.server.url}/api/2.0/mlflow-artifacts/artifacts/m"


async def test_nothing_is_visible_in_the_middle_of_a_download(harness: CacheHarness, tmp_path: Path) -> None:
    """Not in `/proc`, not by tracing, not among its arguments, temporary files or descriptors.

    Nevertheless it uses them: a file that only its memory has is where it finds the server's password.
    """
    uri = gated_model(harness)
    gate = harness.server.add_gate("m/large")
    folder = tmp_path / "download"
    folder.mkdir()
    with downloading(uri, folder) as parent:
        await asyncio.wait_for(gate.reached.wait(), 60)
        (child,) = descendants(parent.pid)
        seen = await spy_on(child)
        assert "mlflow_child" in seen["cmdline"]
        assert SECRET not in seen["cmdline"]
        assert {seen[way] for way in HIDDEN} == {"PermissionError"}, seen
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert files
        assert all(word.encode() not in path.read_bytes() for path in files for word in (SECRET, PASSWORD))
        assert (Path("/proc") / str(child) / "limits").read_text().count("Max core file size        0 ") == 1
        gate.open.set()
        output, _ = await asyncio.to_thread(parent.communicate)
    assert json.loads(output) == ["MLmodel", "large"]
    assert f"Basic {b64encode(f'ann:{PASSWORD}'.encode()).decode()}" in harness.server.authorizations
    assert [path.name for path in folder.iterdir()] == ["files"]  # no temporary file is left


async def test_the_spy_finds_what_is_not_hidden() -> None:
    """The same attempts succeed at a process that does not hide itself: they prove something."""
    victim = ordinary_user.start("lists_s3", env=SECRETS | {"PATH": os.environ["PATH"]})
    with victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "started\n"
        seen = await spy_on(victim.pid)
        victim.kill()
    assert SECRET in seen["environ"]
    assert SECRET in seen["memory"]
    assert "PermissionError" not in {seen[way] for way in HIDDEN - {"trace", "take its input"}}


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True])
async def test_it_ends_with_the_gateway(harness: CacheHarness, tmp_path: Path, *, stopped: bool) -> None:
    """Also if the gateway is killed, and even if a model has stopped it before."""
    uri = gated_model(harness)
    gate = harness.server.add_gate("m/large")
    folder = tmp_path / "download"
    folder.mkdir()
    with downloading(uri, folder) as parent:
        await asyncio.wait_for(gate.reached.wait(), 60)
        below = descendants(parent.pid)
        assert below
        if stopped:
            for pid in below:
                os.kill(pid, signal.SIGSTOP)
        parent.kill()
        await asyncio.to_thread(parent.wait)
        assert await asyncio.to_thread(still_running, below) == set()


async def test_no_file_of_a_model_or_of_the_home_folder_is_used(
    harness: CacheHarness, tmp_path: Path
) -> None:
    """Nothing that is downloaded is executed, whatever its name. A model may have made the files of the home.

    MLflow's own file there would even send the gateway's password to any host.
    """
    home = tmp_path / "home"
    (home / ".mlflow").mkdir(parents=True)
    (home / ".netrc").write_text("machine 127.0.0.1 login eve password x\n")
    (home / ".netrc").chmod(0o600)
    (home / ".mlflow" / "credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = u\nmlflow_tracking_password = p\n"
    )
    evil = f"open({str(tmp_path / 'pwned')!r}, 'w')\n".encode()
    names = ["sitecustomize.py", "usercustomize.py", "mlflow.py", "requests.py", "json.py", "evil.pth"]
    yaml = f"flavors: !!python/object/apply:os.mkdir ['{tmp_path / 'pwned'}']\n".encode()
    harness.server.files = {f"m/{name}": b"import os; " + evil for name in names}
    harness.server.files |= {"m/MLmodel": yaml, "m/conda.yaml": yaml, "m/python_model.pkl": evil}
    files = tmp_path / "a" / "files"
    files.mkdir(parents=True)
    store = MlflowSubprocessStore({**environment(), "HOME": str(home)})
    model = await store.find(f"{harness.server.url}/api/2.0/mlflow-artifacts/artifacts/m")
    found = await model.fetch(files, DownloadProgress("m", total=None, limit=10**9))
    assert {file.path for file in found} == {*names, "MLmodel", "conda.yaml", "python_model.pkl"}
    assert not (tmp_path / "pwned").exists()
    assert set(harness.server.authorizations) == {""}
