"""The demo from an empty folder to its end."""

from __future__ import annotations

import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from gateway.cli.demo import tour
from gateway.cli.demo.errors import DemoError
from gateway.cli.demo.folder import DemoFolder
from gateway.cli.demo.server import free_port, wait_until_up
from tests.support import mlflow_server
from tests.support.commands import descendants, gateway, left, running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.cli.conftest import Demo


def test_training_is_shown(demo: Demo) -> None:
    """A line for each of the seven models, then the calls, which work as they are."""
    said = demo.command.said
    steps = [line for line in said.splitlines() if line.startswith("[")]
    assert [step.split("] ")[1].split(" ")[0] for step in steps[1:8]] == [f"{n}/7" for n in range(1, 8)]
    assert all(f"# {text}\n{line}\n" in said for text, line in tour.example_calls(demo.base))
    assert f"{demo.base}/docs" in said


def test_printed_calls_work(demo: Demo) -> None:
    """Each printed line, run by a shell, is answered with 200."""
    for _, line in tour.example_calls(demo.base):
        done = subprocess.run(
            ["bash", "-c", f"{line} -o /dev/null -w '%{{http_code}}'"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert (line, done.stdout) == (line, "200")


def test_data_is_in_its_folder(demo: Demo) -> None:
    """Trained models, the database, logs and the cache of artifacts are below the one folder."""
    names = {entry.name for entry in demo.folder.iterdir()}
    assert names >= {"mlflow.db", "artifacts", "mlflow.log", "training.log", "trained.json", "cache"}
    assert [entry.name for entry in demo.folder.parent.iterdir()] == ["demo-data"]


def test_one_demo_per_folder(demo: Demo) -> None:
    """A second demo in the same folder is refused, naming what to do."""
    done = gateway("demo", "--folder", str(demo.folder), cwd=demo.folder.parent)
    assert done.returncode == 1
    assert "Another `gateway demo` runs in" in done.stderr


@pytest.mark.parametrize(
    ("number", "processes"), [(signal.SIGTERM, "1"), (signal.SIGINT, "2"), (signal.SIGKILL, "2")]
)
def test_nothing_outlives_it(number: signal.Signals, processes: str, demo: Demo, tmp_path: Path) -> None:
    """A start over trained data trains nothing; however it is ended, every process below it ends."""
    shutil.copytree(demo.folder, tmp_path / "demo-data")
    extra = {"GATEWAY_PROCESSES": processes}
    with running("demo", "--port", "0", cwd=tmp_path, extra=extra) as command:
        base = command.wait_for("ready: ").split()[-4].rstrip(",")
        command.wait_for("To stop: ")
        assert "/7" not in command.said
        call = dict(tour.example_calls(base))["by alias"]  # so that there is a worker too
        assert (
            b'"predictions"' in subprocess.run(["bash", "-c", call], capture_output=True, check=True).stdout
        )
        below = descendants(command.process.pid)
        assert len(below) >= 5  # the keeper, mlflow's command, its server, the template, a worker
        assert command.end(number) == (-9 if number == signal.SIGKILL else 0)
    assert left(below) == set()


def test_ended_while_training(tmp_path: Path) -> None:
    """A signal during training ends everything, and the next start begins again."""
    for _ in range(2):
        with running("demo", "--port", "0", cwd=tmp_path) as command:
            command.wait_for("1/7")
            below = descendants(command.process.pid)
            assert command.end() == 128 + signal.SIGTERM
        assert left(below) == set()
        assert not DemoFolder(tmp_path / "demo-data").trained


def test_training_that_fails(tmp_path: Path) -> None:
    """A training that cannot go on ends the demo with status 1 and names its log."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "artifacts").write_text("a file where a folder must be")
    done = gateway("demo", "--folder", "data", "--port", "0", cwd=tmp_path)
    assert done.returncode == 1
    assert "Training the example models failed." in done.stderr
    assert "training.log" in done.stderr


def test_a_server_that_ends(tmp_path: Path) -> None:
    """A database that MLflow cannot open: the demo says where to look, without waiting in vain."""
    folder = DemoFolder(tmp_path / "data")
    folder.path.mkdir()
    (folder.path / "mlflow.db").write_text("no database")
    folder.mark_trained()
    done = gateway("demo", "--folder", "data", "--port", "0", cwd=tmp_path)
    assert done.returncode == 1
    assert "The MLflow server ended by itself" in done.stderr


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    """A path below a file: said plainly, with the option to change."""
    (tmp_path / "file").write_text("")
    done = gateway("demo", "--folder", "file/data", "--port", "0", cwd=tmp_path)
    assert done.returncode == 1
    assert "--folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_left_alone(demo: Demo) -> None:
    """The usual port where it is free, else another one."""
    taken = int(demo.base.rpartition(":")[2])
    assert free_port(taken) != taken
    free = mlflow_server.free_port()
    assert free_port(free) == free


def test_waiting_has_an_end() -> None:
    """A server that is known to be dead is not waited for."""
    with pytest.raises(DemoError, match="ended by itself"):
        wait_until_up(f"http://127.0.0.1:{mlflow_server.free_port()}", alive=lambda: False)


def test_clearing_spares_what_is_not_the_demos(tmp_path: Path) -> None:
    """An unfinished folder is emptied of the demo's own files only."""
    folder = DemoFolder(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "artifacts" / "1").mkdir(parents=True)
    (tmp_path / "mlflow.db-wal").write_text("")
    folder.clear()
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("mark", ["", "{", "[]", '{"recipe": 0}'])
def test_another_recipe_is_not_ours(mark: str, tmp_path: Path) -> None:
    """A mark that is damaged or of other models does not count."""
    (tmp_path / "trained.json").write_text(mark)
    assert not DemoFolder(tmp_path).trained
    DemoFolder(tmp_path).mark_trained()
    assert DemoFolder(tmp_path).trained
