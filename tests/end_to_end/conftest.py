"""A gateway in a process of its own, as an operator runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.mlflow_server import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.mlflow_server import MlflowServer

PROGRAMS = Path(__file__).parents[1] / "support" / "programs"


class Process:
    """A running gateway: where it listens, and its log once it has ended."""

    def __init__(
        self,
        folder: Path,
        values: dict[str, str],
        *,
        program: str,
        python: Path | str,
        preexec: Callable[[], None] | None,
    ) -> None:
        """`program` is one of `tests.support.programs`; `preexec` runs in the new process before it."""
        self._log = folder / "gateway.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(python), str(PROGRAMS / f"{program}.py")],
                env=environment(values),
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                preexec_fn=preexec,  # noqa: PLW1509 - no thread of ours holds a lock that it needs
            )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def send(self, number: signal.Signals) -> None:
        """A signal to the gateway itself."""
        self._process.send_signal(number)

    def send_to_group(self, number: signal.Signals) -> None:
        """A signal to all of its process group, as a terminal sends it."""
        os.killpg(self._process.pid, number)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def status(self, seconds: float = 20) -> int:
        """The exit status, waited for."""
        return self._process.wait(seconds)

    def log(self) -> list[str]:
        """The lines of its log so far."""
        return self._log.read_text().splitlines()

    def others(self) -> list[int]:
        """The processes of its session that run beside it or outlive it."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                pid, rest = stat.read_text().split(" (", 1)
            except (FileNotFoundError, ProcessLookupError):
                continue
            state, _, _, session = rest.rpartition(") ")[2].split()[:4]
            if int(session) == self._process.pid and int(pid) != self._process.pid and state != "Z":
                found.append(int(pid))
        return found

    def left(self, seconds: float = 5) -> list[int]:
        """The processes that outlive it by so many seconds; the workers' template ends just after it."""
        ends = time.monotonic() + seconds
        while self.others() and time.monotonic() < ends:
            time.sleep(0.02)
        return self.others()

    def end(self) -> None:
        """Make sure that nothing of it is left."""
        if self._process.poll() is None or self.others():
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def start(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> Iterator[Callable[..., Process]]:
    """Starts gateways with the settings given; they are ended with the test."""
    started: list[Process] = []

    def run(
        *,
        program: str = "serve",
        python: Path | str = sys.executable,
        preexec: Callable[[], None] | None = None,
        **values: str,
    ) -> Process:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        ours = {
            "MLFLOW_TRACKING_URI": mlflow_server.url,
            "GATEWAY_CACHE_DIR": str(folder / "cache"),
            "GATEWAY_PORT": "0",
            "GATEWAY_GRACE_SECONDS": "0",
        }
        started.append(Process(folder, ours | values, program=program, python=python, preexec=preexec))
        return started[-1]

    yield run
    for process in started:
        process.end()
