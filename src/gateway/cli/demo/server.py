"""The demo's own MLflow server: SQLite and served artifacts in one folder, on a port of loopback."""

from __future__ import annotations

import contextlib
import socket
import time
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.cli.demo.errors import DemoError
from gateway.cli.demo.programs import run_guarded

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

DEFAULT_PORT = 5000
START_TIMEOUT_SECONDS = 120.0
LOG_FILE = "mlflow.log"


@dataclass(frozen=True, slots=True)
class MlflowServer:
    """An MLflow server that was started: where it will answer, and the process that keeps it."""

    url: str
    guard: subprocess.Popen[bytes]

    def wait_until_up(self) -> None:
        """Return when it answers; raises DemoError when it ends before that, or takes too long."""
        wait_until_up(self.url, alive=lambda: self.guard.poll() is None)


@contextlib.contextmanager
def run_mlflow_server(folder: Path, environ: Mapping[str, str]) -> Iterator[MlflowServer]:
    """An MLflow server over `folder` while the context lasts; its output goes to a log file there."""
    port = free_port(DEFAULT_PORT)
    arguments = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--serve-artifacts"]
    arguments += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    arguments += ["--artifacts-destination", (folder / "artifacts").as_uri()]
    with (
        (folder / LOG_FILE).open("wb") as log,
        run_guarded("mlflow", *arguments, environ=environ, output=log, errors=log) as keeper,
    ):
        yield MlflowServer(f"http://127.0.0.1:{port}", keeper)


def free_port(wanted: int) -> int:
    """`wanted` where it is free on loopback, else any that is."""
    for port in (wanted, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise DemoError("No port is free on 127.0.0.1.")


def wait_until_up(url: str, *, alive: Callable[[], bool] = lambda: True) -> None:
    """Return when the server at `url` answers; raises DemoError when it is not alive or too slow."""
    until = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < until:
        if not alive():
            raise DemoError(f"The MLflow server ended by itself; see {LOG_FILE} in the demo's folder.")
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):  # noqa: S310  # our own http:// URL
                return
        except OSError:
            time.sleep(0.1)
    raise DemoError(
        f"The MLflow server did not answer within {START_TIMEOUT_SECONDS:.0f} s; see {LOG_FILE} in the demo's folder."
    )
