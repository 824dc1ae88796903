"""Proves what the demo does, from an empty folder to its end."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import urllib.request
from typing import TYPE_CHECKING

import pytest

from gateway.cli.demo.errors import DemoError
from gateway.cli.demo.examples import example_calls
from gateway.cli.demo.folder import DemoFolder
from gateway.cli.demo.server import free_port, is_free, wait_until_up
from tests.gateway.cli.conftest import START_SECONDS
from tests.support.commands import descendants, gateway, running, still_running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.cli.conftest import Demo

pytestmark = pytest.mark.timeout(600)  # a start takes 25 s on an idle machine
START = ("demo", "--port", "0", "--mlflow-port", "0")


def test_training_is_shown(demo: Demo) -> None:
    """It prints a line for each of the seven models, then the page to open, then the calls to try."""
    steps = [line for line in demo.output.splitlines() if line.startswith("[")]
    assert [step.split("] ")[1].split(" ")[0] for step in steps[1:8]] == [f"{n}/7" for n in range(1, 8)]
    places = [demo.output.index(f"Open {demo.base}/ in a browser")]
    places += [
        demo.output.index(f"\n{call.command}\n# … {call.answer} …\n") for call in example_calls(demo.base)
    ]
    assert places == sorted(places)


def test_printed_calls_work(demo: Demo) -> None:
    """The gateway answers each printed line, run by a shell, with the printed answer."""
    for call in example_calls(demo.base):
        done = subprocess.run(
            ["bash", "-c", f"{call.command} -w ' %{{http_code}}'"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert call.answer in done.stdout
        assert done.stdout.endswith(f" {call.status}")


def test_the_page_opens(demo: Demo) -> None:
    """The printed address answers a browser with the page, which names the demo's models."""
    request = urllib.request.Request(f"{demo.base}/", headers={"Accept": "text/html"})  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - as above
        assert response.headers["Content-Type"].startswith("text/html")
        page = response.read().decode()
    assert all(name in page for name in ("wine", "iris-petals", "forest"))


def test_data_is_in_its_folder(demo: Demo) -> None:
    """Trained models, the database, logs and the cache of artifacts are in one folder."""
    names = {entry.name for entry in demo.folder.iterdir()}
    assert names >= {"mlflow.db", "artifacts", "mlflow.log", "training.log", "trained.json", "cache"}
    assert [entry.name for entry in demo.folder.parent.iterdir()] == ["demo-data"]


@pytest.mark.slow
def test_beside_a_service_named_gateway(demo: Demo, tmp_path: Path) -> None:
    """What Kubernetes sets is not the port; on all interfaces, the printed calls name an address to call."""
    shutil.copytree(demo.folder, tmp_path / "demo-data")
    extra = {"GATEWAY_PORT": "tcp://10.0.0.1:80", "MLFLOW_PORT": "tcp://10.0.0.2:80", "GATEWAY_HOST": "::"}
    extra |= {"GATEWAY_PRELOAD": "none", "GATEWAY_AUTH": "none"}
    with running("demo", "--mlflow-port", "0", cwd=tmp_path, extra=extra) as command:
        base = command.wait_for("ready: ", within=START_SECONDS).split()[-4].rstrip(",")
        command.wait_for("To stop: ")
        assert base.startswith("http://localhost:")
        line = example_calls(base)[0].command
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True, timeout=60)
        assert '"wine"' in done.stdout
        assert command.end() == 0


def test_one_demo_per_folder(demo: Demo) -> None:
    """A second demo in the same folder does not start, and says what to do."""
    done = gateway("demo", "--folder", str(demo.folder), cwd=demo.folder.parent)
    assert done.returncode == 1
    assert "Another `gateway demo` runs in" in done.stderr


@pytest.mark.parametrize(
    ("number", "processes"),
    [
        pytest.param(signal.SIGTERM, "1", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, "2", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, "2", marks=pytest.mark.slow),
    ],
)
def test_nothing_outlives_it(number: signal.Signals, processes: str, demo: Demo, tmp_path: Path) -> None:
    """A start with trained data trains nothing; after each kind of end, every descendant ends."""
    shutil.copytree(demo.folder, tmp_path / "demo-data")
    extra = {"GATEWAY_PROCESSES": processes, "GATEWAY_PRELOAD": "none"}
    with running(*START, cwd=tmp_path, extra=extra) as command:
        base = command.wait_for("ready: ", within=START_SECONDS).split()[-4].rstrip(",")
        command.wait_for("To stop: ")
        assert "/7" not in command.output
        call = example_calls(base)[0].command  # so that there is a worker too
        assert (
            b'"predictions"' in subprocess.run(["bash", "-c", call], capture_output=True, check=True).stdout
        )
        below = descendants(command.process.pid)
        assert len(below) >= 5  # the guard, the mlflow command, its server, the fork server, a worker
        assert command.end(number) == (-9 if number == signal.SIGKILL else 0)
    assert still_running(below) == set()


@pytest.mark.slow
def test_ended_while_training(tmp_path: Path) -> None:
    """A signal during training ends everything, and the next start trains again."""
    for _ in range(2):
        with running(*START, cwd=tmp_path) as command:
            command.wait_for("1/7", within=START_SECONDS)
            below = descendants(command.process.pid)
            assert command.end() == 128 + signal.SIGTERM
        assert still_running(below) == set()
        assert not DemoFolder(tmp_path / "demo-data").trained


@pytest.mark.slow
def test_training_that_fails(tmp_path: Path) -> None:
    """It ends the demo with status 1; the demo names the log."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "artifacts").write_text("a file where a folder must be")
    done = gateway(*START, "--folder", "data", cwd=tmp_path, within=START_SECONDS)
    assert done.returncode == 1
    assert "Training the example models failed." in done.stderr
    assert "training.log" in done.stderr


@pytest.mark.slow
def test_a_server_that_ends(tmp_path: Path) -> None:
    """If MLflow cannot open its database, the demo names the log and does not wait any longer."""
    folder = DemoFolder(tmp_path / "data")
    folder.path.mkdir()
    (folder.path / "mlflow.db").write_text("not a database")
    folder.mark_trained()
    done = gateway(*START, "--folder", "data", cwd=tmp_path, within=START_SECONDS)
    assert done.returncode == 1
    assert "The MLflow server exited" in done.stderr


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    """The demo names the option to change, without a traceback."""
    (tmp_path / "file").write_text("")
    done = gateway(*START, "--folder", "file/data", cwd=tmp_path)
    assert done.returncode == 1
    assert "--folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_not_taken() -> None:
    """The demo uses the usual port if it is free, else another one."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert not is_free(port)
        assert free_port(port) != port
    assert is_free(port)
    assert free_port(port) == port


def test_an_exited_server_is_not_waited_for() -> None:
    """It is an error at once."""
    with pytest.raises(DemoError, match="exited"):
        wait_until_up("http://127.0.0.1:9", is_running=lambda: False)


def test_clearing_keeps_other_files(tmp_path: Path) -> None:
    """Only the demo's own files are deleted."""
    folder = DemoFolder(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "artifacts" / "1").mkdir(parents=True)
    (tmp_path / "mlflow.db-wal").write_text("")
    folder.clear()
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("mark", ["", "{", "[]", '{"recipe": 0}'])
def test_models_of_another_recipe_do_not_count(mark: str, tmp_path: Path) -> None:
    """Nor does a damaged marker."""
    (tmp_path / "trained.json").write_text(mark)
    assert not DemoFolder(tmp_path).trained
    DemoFolder(tmp_path).mark_trained()
    assert DemoFolder(tmp_path).trained
