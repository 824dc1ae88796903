"""Start real MLflow servers for the tests, and end them with all their children."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.shared import end_group, end_with_run, once

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pytest

START_SECONDS = 240.0  # on a machine that does much else
_PORT_TRIES = 5  # another program may take the port between its choice and the server's start
_shared_processes: list[subprocess.Popen[bytes]] = []  # kept: a dropped Popen warns that its process runs
_FOREIGN = ("MLFLOW_", "AWS_", "GATEWAY_")


@dataclass(frozen=True, slots=True)
class MlflowServer:
    """A running MLflow server: its address, its folder, and the Python that has its client."""

    url: str
    folder: Path
    python: str = sys.executable

    def call(self, path: str, body: dict[str, Any], *, method: str = "POST") -> Any:
        """Call the server's REST API and return its JSON."""
        request = urllib.request.Request(  # noqa: S310 - an http address made below
            f"{self.url}/api/2.0/mlflow/{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310 - as above
            return json.load(reply)

    def script(self, file: Path, *arguments: str) -> Any:
        """Run a Python script that uses this server, and return the JSON of its last line of output.

        It runs in a process of its own, so that MLflow's client changes nothing here.
        """
        done = subprocess.run(
            [self.python, str(file), *arguments],
            env=environment({"MLFLOW_TRACKING_URI": self.url, "MLFLOW_REGISTRY_URI": self.url}),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    def module(self, name: str, *arguments: str) -> Any:
        """Run a module of the tests that uses this server, and return the JSON of its last line of output."""
        done = subprocess.run(
            [sys.executable, "-m", name, *arguments],
            env=environment({"MLFLOW_TRACKING_URI": self.url}),
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process' environment without variables of MLflow, AWS and the gateway, plus `extra`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    # Quiet and without the network: no git look-up, no usage reports, no job runner.
    quiet = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "DO_NOT_TRACK": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": "1",
    }
    return {**kept, **quiet, **(extra or {})}


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that no socket is bound to now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def mlflow_server(
    folder: Path,
    *,
    python: str = sys.executable,
    options: Sequence[str] = (),
    extra: Mapping[str, str] | None = None,
    served: bool = True,
) -> Iterator[MlflowServer]:
    """Run `mlflow server` on SQLite in `folder`, and end it with its children at the end.

    It serves artifacts itself unless `served` is False.
    """
    server, process = start(folder, python=python, options=options, extra=extra, served=served)
    try:
        yield server
    finally:
        end_group(process.pid)
        process.wait()


def start(
    folder: Path,
    *,
    python: str = sys.executable,
    options: Sequence[str] = (),
    extra: Mapping[str, str] | None = None,
    served: bool = True,
) -> tuple[MlflowServer, subprocess.Popen[bytes]]:
    """Start a server in a process group of its own, and return when it answers; the caller ends it."""
    artifacts = (
        ["--artifacts-destination", str(folder / "artifacts"), "--serve-artifacts"]
        if served
        else ["--default-artifact-root", (folder / "artifacts").as_uri(), "--no-serve-artifacts"]
    )
    store = ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    log = folder / "server.log"
    for _ in range(_PORT_TRIES):
        port = free_port()
        listen = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [python, "-m", "mlflow", "server", *listen, *store, *artifacts, *options],
                env=environment(extra),
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        url = f"http://127.0.0.1:{port}"
        try:
            if _is_up(process, url, log=log):
                return MlflowServer(url, folder, python), process
        except BaseException:
            end_group(process.pid)
            process.wait()
            raise
        process.wait()
    raise AssertionError(f"mlflow server found no free port: {log.read_text()[-4000:]}")


def _is_up(process: subprocess.Popen[bytes], url: str, *, log: Path) -> bool:
    """Wait until the server answers; False if another program took its port first."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            assert "address already in use" in log.read_text().lower(), log.read_text()[-4000:]
            return False
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):  # noqa: S310 - an http address made above
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"mlflow server did not start: {log.read_text()[-4000:]}")


def keep(process: subprocess.Popen[bytes]) -> None:
    """Keep a server that the end of the run ends."""
    _shared_processes.append(process)


def shared_server(factory: pytest.TempPathFactory, name: str) -> MlflowServer:
    """Return the server called `name`, which all test processes of this run share."""

    def make(folder: Path) -> dict[str, str]:
        server, process = start(folder)
        end_with_run(factory, process.pid)
        keep(process)
        return {"url": server.url, "folder": str(folder)}

    made = once(factory, name, make)
    return MlflowServer(made["url"], Path(made["folder"]))
