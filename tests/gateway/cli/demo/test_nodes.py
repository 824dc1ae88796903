"""Proves that the demo of a fleet loses a node and no request, gets the node back, and leaves nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cli.demo.examples import WINE, request_loop
from gateway.cli.demo.nodes import FOLDER
from gateway.console.nodes import COLUMNS
from tests.gateway.cli.conftest import START_SECONDS
from tests.support.commands import PATIENCE_SECONDS, descendants, gateway, running, still_running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.gateway.cli.conftest import Demo
    from tests.support.commands import Running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
START = ("demo", "--port", "0", "--mlflow-port", "0", "--nodes", "2")
LEAN = {"GATEWAY_PRELOAD": "none"}
MODEL = "/model/wine/@champion"


class Asking:
    """A client that asks for a prediction again and again, in a thread, until the context ends."""

    def __init__(self, base: str) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self._base = base
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(PATIENCE_SECONDS)

    def _run(self) -> None:
        body = json.dumps({"dataframe_records": [WINE]}).encode()
        while not self._ended.wait(0.01):
            try:
                answer = ask(f"{self._base}{MODEL}/invocation", body)
                assert answer["predictions"] == [0]
                self.answered += 1
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))


def ask(url: str, body: bytes | None = None) -> Any:
    """Return the JSON of an answer. Raise OSError for a status of an error."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:  # noqa: S310 - as above
        return json.load(response)


def wait_until(condition: Callable[[], bool], *, within: float = START_SECONDS) -> None:
    """Return once `condition` holds."""
    ends = time.monotonic() + within
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.05)


def states(base: str) -> dict[str, str]:
    """Return the state of each node by its port, as the page of the gateway polls it."""
    rows = ask(f"{base}/console/state?view=gateway")["nodes"]
    return {address.rpartition(":")[2]: row[COLUMNS.index("state")] for address, row in rows.items()}


def base_of(command: Running) -> str:
    """Return the gateway's address once the demo is ready."""
    base = command.wait_for("ready: ", within=START_SECONDS).split()[-4].rstrip(",")
    command.wait_for("To stop: ")
    return base


def test_a_node_is_killed_while_requests_go_on(demo: Demo, tmp_path: Path) -> None:
    """No request fails; the page shows the node lost, then connected; nothing is left after SIGTERM."""
    shutil.copytree(demo.folder, tmp_path / "demo-data")
    pids = tmp_path / "demo-data" / FOLDER
    with running(*START, cwd=tmp_path, extra=LEAN) as command:
        base = base_of(command)
        loop = request_loop(base).replace("while sleep 0.2", "for _ in 1 2 3")
        done = subprocess.run(["bash", "-c", loop], capture_output=True, text=True, check=True, timeout=120)
        assert done.stdout.count('"predictions":[0]') == 3
        printed = re.search(r"^kill -9 (\d+)$", command.output, re.MULTILINE)
        assert printed is not None
        assert int(printed[1]) in {int(file.read_text()) for file in pids.glob("*.pid")}
        with Asking(base) as asking:
            wait_until(lambda: asking.answered > 20)
            (address,) = ask(base + MODEL)["serving"]["nodes"]
            port = address.rpartition(":")[2]
            killed = int((pids / f"{port}.pid").read_text())
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda: states(base)[port] != "connected")
            assert set(states(base).values()) >= {"connected"}
            wait_until(lambda: set(states(base).values()) == {"connected"})
            after = asking.answered
            wait_until(lambda: asking.answered > after + 20)
        assert asking.failures == []
        assert int((pids / f"{port}.pid").read_text()) != killed
        command.wait_for(f"the node at 127.0.0.1:{port} runs again")
        below = descendants(command.process.pid)
        assert len(below) >= 9  # of MLflow three, of the nodes' keeper two, two nodes with a fork server each
        assert command.end() == 0
    assert still_running(below) == set()


def test_nothing_outlives_a_demo_that_is_killed(demo: Demo, tmp_path: Path) -> None:
    """Neither the nodes nor their keeper, whose guard sees that the demo is gone."""
    shutil.copytree(demo.folder, tmp_path / "demo-data")
    with running(*START, cwd=tmp_path, extra=LEAN) as command:
        base_of(command)
        below = descendants(command.process.pid)
        assert command.end(signal.SIGKILL) == -signal.SIGKILL
    assert still_running(below) == set()


def test_a_node_that_does_not_start(demo: Demo, tmp_path: Path) -> None:
    """A wrong setting of theirs alone ends the demo with status 1; the demo names the logs."""
    shutil.copytree(demo.folder, tmp_path / "demo-data")
    extra = {"GATEWAY_CACHE_DIR": str(tmp_path / "demo-data" / "mlflow.db")}
    done = gateway(*START, cwd=tmp_path, extra=extra, within=START_SECONDS)
    assert done.returncode == 1
    assert "A node did not start; see the logs in" in done.stderr


@pytest.mark.parametrize("count", ["9", "-1", "two"])
def test_a_wrong_number_of_nodes(count: str, tmp_path: Path) -> None:
    """It is refused before anything is started."""
    done = gateway("demo", "--nodes", count, cwd=tmp_path)
    assert done.returncode == 2
    assert "is not a number of nodes from 1 to 8" in done.stderr
    assert list(tmp_path.iterdir()) == []
