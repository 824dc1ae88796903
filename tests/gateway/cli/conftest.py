"""One `gateway demo` for the whole run: a real process, trained from nothing."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.mlflow_server import environment
from tests.support.shared import end_with_run, once

START_SECONDS = 220.0  # 25 s on an idle machine
# Settings that would lead another gateway to another server; the demo's own MLflow server must win.
MISLEADING = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_TRACKING_TOKEN": "another server's"}
_started: list[
    subprocess.Popen[bytes]
] = []  # a reference each: Python warns when it forgets a running process


@dataclass(frozen=True, slots=True)
class Demo:
    """A running demo: its addresses, its folder and what it printed."""

    base: str
    mlflow: str
    folder: Path
    output: str


@pytest.fixture(scope="session")
def demo(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A demo in a folder that was empty, up and ready; tests only read its models.

    All test processes of the run share it.
    """

    def make(folder: Path) -> dict[str, str]:
        output = folder / "output.txt"
        process = _start(folder, output)
        end_with_run(tmp_path_factory, process.pid)
        printed = _wait_until_ready(process, output)
        ready = re.search(r"ready: the gateway at (\S+), MLflow at (\S+)", printed)
        assert ready is not None
        # The demo's folder alone, so that a test can see what is in it.
        return {"base": ready[1], "mlflow": ready[2], "folder": str(folder / "cwd"), "output": printed}

    made = once(tmp_path_factory, "demo", make)
    return Demo(made["base"], made["mlflow"], Path(made["folder"]) / "demo-data", made["output"])


def _start(folder: Path, output: Path) -> subprocess.Popen[bytes]:
    (folder / "cwd").mkdir()
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "demo", "--port", "0", "--mlflow-port", "0"],
            env=environment(MISLEADING),
            cwd=folder / "cwd",
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _started.append(process)
    return process


def _wait_until_ready(process: subprocess.Popen[bytes], output: Path) -> str:
    """Wait for the last line of the start, and return all that was printed."""
    ends = time.monotonic() + START_SECONDS
    while "To stop: " not in (printed := output.read_text()):
        assert process.poll() is None, printed
        assert time.monotonic() < ends, printed
        time.sleep(0.05)
    return printed
