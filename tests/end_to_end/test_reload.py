"""Proves what SIGHUP changes in a running gateway, and that wrong settings change nothing."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import PATIENCE_SECONDS, Running, descendants, left, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.timeout(300)


@contextmanager
def served(
    server: MlflowServer, folder: Path, values: dict[str, str] | None = None, *, file: bool = True
) -> Iterator[Running]:
    """A gateway that takes its settings from `.env`, or from its environment alone."""
    ours = {"GATEWAY_CACHE_DIR": str(folder / "cache"), "GATEWAY_PORT": "0", "GATEWAY_GRACE_SECONDS": "0"}
    ours |= {"MLFLOW_TRACKING_URI": server.url} | (values or {})
    if file:
        write(folder, ours)
    with running("serve", cwd=folder, extra=None if file else ours) as command:
        yield command


def write(folder: Path, values: dict[str, str]) -> None:
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))


def change(folder: Path, **values: str) -> None:
    """Other lines in `.env`."""
    before = dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())
    write(folder, before | values)


def address(command: Running) -> str:
    return str(json.loads(command.wait_for("Listening on "))["message"].split("Listening on ")[1])


def is_alive(url: str) -> bool:
    with urllib.request.urlopen(f"{url}/health/live", timeout=20) as answer:  # noqa: S310 - our own
        return bool(answer.status == 200)


def state(url: str, version: str) -> str:
    with urllib.request.urlopen(f"{url}/model/{version}", timeout=20) as answer:  # noqa: S310 - our own
        return str(json.load(answer)["serving"]["state"])


def until_state(url: str, version: str, wanted: str) -> None:
    ends = time.monotonic() + PATIENCE_SECONDS
    while (found := state(url, version)) != wanted:
        assert time.monotonic() < ends, found
        time.sleep(0.1)


def test_what_can_change_changes(mlflow_server: MlflowServer, registered: list[str], tmp_path: Path) -> None:
    """Pins, times and the log are as `.env` says now; one line says what was applied and what was not."""
    pins = {"GATEWAY_PINNED_MODELS": "api-tens/1", "GATEWAY_IDLE_SECONDS": "1"}
    with served(mlflow_server, tmp_path, pins) as command:
        url = address(command)
        until_state(url, "api-tens/1", "warm")
        change(
            tmp_path,
            GATEWAY_PINNED_MODELS="api-sums/1",
            GATEWAY_IDLE_SECONDS="0.5",
            GATEWAY_PORT="1",
            MLFLOW_HTTP_REQUEST_MAX_RETRIES="3",
        )
        command.process.send_signal(signal.SIGHUP)
        line = json.loads(command.wait_for("Settings reloaded"))
        assert line["applied"] == ["GATEWAY_IDLE_SECONDS", "GATEWAY_PINNED_MODELS"]
        assert "GATEWAY_PORT" in line["need_a_restart"]
        assert line["level"] == "info"
        until_state(url, "api-sums/1", "warm")
        until_state(url, "api-tens/1", "cold")
        assert command.end() == 0


def test_wrong_settings_change_nothing(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """Every problem is named, the gateway goes on, and later settings that are right are taken."""
    with served(mlflow_server, tmp_path) as command:
        url = address(command)
        change(tmp_path, GATEWAY_LOG_LEVEL="loud", GATEWAY_PROT="1", GATEWAY_IDLE_SECONDS="5")
        command.process.send_signal(signal.SIGHUP)
        line = json.loads(command.wait_for("Settings reload failed"))
        assert "GATEWAY_LOG_LEVEL" in line["message"]
        assert "GATEWAY_PROT" in line["message"]
        assert is_alive(url)
        (tmp_path / ".env").write_text(
            (tmp_path / ".env").read_text().replace("loud", "debug").replace("GATEWAY_PROT=1\n", "")
        )
        command.process.send_signal(signal.SIGHUP)
        line = json.loads(command.wait_for("Settings reloaded"))
        assert line["applied"] == ["GATEWAY_IDLE_SECONDS", "GATEWAY_LOG_LEVEL"]
        assert line["need_a_restart"] == []
        assert command.end() == 0


def test_without_a_file(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """Where there is no `.env` nothing can have changed, and the gateway goes on."""
    with served(mlflow_server, tmp_path, file=False) as command:
        url = address(command)
        command.process.send_signal(signal.SIGHUP)
        assert "applied: none; need a restart: none" in command.wait_for("Settings reloaded")
        assert is_alive(url)
        assert command.end() == 0


def test_each_of_several_processes_reads_again(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """The supervisor passes the signal on, unless the settings are wrong, which it says once."""

    def who() -> set[int | None]:
        lines = [json.loads(line) for line in command.lines if "Settings reloaded" in line]
        return {line.get("process") for line in lines if line["need_a_restart"] == ["GATEWAY_PROCESSES"]}

    with served(mlflow_server, tmp_path, {"GATEWAY_PROCESSES": "2"}) as command:
        command.wait_for("2 processes listen")
        below = descendants(command.process.pid)
        change(tmp_path, GATEWAY_LOG_LEVEL="loud")
        command.process.send_signal(signal.SIGHUP)
        command.wait_for("Settings reload failed")
        change(tmp_path, GATEWAY_LOG_LEVEL="debug", GATEWAY_PROCESSES="3")
        command.process.send_signal(signal.SIGHUP)
        ends = time.monotonic() + PATIENCE_SECONDS
        while who() != {None, 1, 2}:
            assert time.monotonic() < ends, command.said
            time.sleep(0.05)
        assert command.end() == 0
        told = [line for line in command.lines if "Settings reload failed" in line]
        assert len(told) == 1
    assert left(below) == set()
