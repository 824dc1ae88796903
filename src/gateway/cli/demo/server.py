"""The demo's own MLflow server: SQLite and proxied artifacts in one folder, on a port of 127.0.0.1."""

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
    """An MLflow server that was started: its address, and the guard of its process."""

    url: str
    guard: subprocess.Popen[bytes]

    def wait_until_up(self) -> None:
        """Return when it responds; raise DemoError if it exits before that or takes too long."""
        wait_until_up(self.url, is_running=lambda: self.guard.poll() is None)


@contextlib.contextmanager
def run_mlflow_server(folder: Path, environ: Mapping[str, str], *, port: int) -> Iterator[MlflowServer]:
    """Run an MLflow server on `folder` until the context ends; its output goes to a log file there."""
    arguments = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--serve-artifacts"]
    arguments += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    arguments += ["--artifacts-destination", (folder / "artifacts").as_uri()]
    with (
        (folder / LOG_FILE).open("wb") as log,
        run_guarded("mlflow", *arguments, environ=environ, output=log, errors=log) as guard,
    ):
        yield MlflowServer(f"http://127.0.0.1:{port}", guard)


def is_free(port: int) -> bool:
    """Return whether a program can listen on `port` of 127.0.0.1."""
    return _bind(port) is not None


def free_port(preferred: int) -> int:
    """Return `preferred` if it is free on 127.0.0.1, else another free port."""
    port = _bind(preferred) or _bind(0)
    if port is None:
        raise DemoError("No port is free on 127.0.0.1.")
    return port


def wait_until_up(url: str, *, is_running: Callable[[], bool] = lambda: True) -> None:
    """Return when the server at `url` responds; raise DemoError if it does not run or takes too long."""
    until = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < until:
        if not is_running():
            raise DemoError(f"The MLflow server exited; see {LOG_FILE} in the demo's folder.")
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):  # noqa: S310  # always http
                return
        except OSError:
            time.sleep(0.1)
    seconds = f"{START_TIMEOUT_SECONDS:.0f} s"
    raise DemoError(
        f"The MLflow server did not respond within {seconds}; see {LOG_FILE} in the demo's folder."
    )


def _bind(port: int) -> int | None:
    """Bind and release `port`, any free one if it is 0; return its number, or None if it is in use."""
    with contextlib.suppress(OSError), socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return int(probe.getsockname()[1])
    return None
