"""Proves what SIGHUP changes in a running gateway, and that wrong settings change nothing."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.commands import PATIENCE_SECONDS, Running, descendants, running, still_running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.timeout(300)


@contextmanager
def served(
    server: MlflowServer, folder: Path, values: dict[str, str] | None = None, *, file: bool = True
) -> Iterator[Running]:
    """Run a gateway that reads its settings from `.env`, or from its environment only."""
    settings = {
        "GATEWAY_CACHE_DIR": str(folder / "cache"),
        "GATEWAY_PORT": "0",
        "GATEWAY_GRACE_SECONDS": "0",
        "GATEWAY_PRELOAD": "none",
        "MLFLOW_TRACKING_URI": server.url,
        **(values or {}),
    }
    if file:
        write(folder, settings)
    with running("serve", cwd=folder, extra=None if file else settings) as command:
        yield command


def write(folder: Path, values: dict[str, str]) -> None:
    """Write `.env`."""
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))


def change(folder: Path, **values: str) -> None:
    """Replace these lines of `.env`."""
    before = dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())
    write(folder, before | values)


def address(command: Running) -> str:
    """Return the gateway's address as soon as it listens."""
    return str(command.wait_for_event("listening")[0]["address"])


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as response:  # noqa: S310 - the gateway's address
        return json.load(response)


def until_state(url: str, version: str, wanted: str) -> None:
    """Wait until the version `name/number` has this serving state."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while (found := get(f"{url}/model/{version}")["serving"]["state"]) != wanted:
        assert time.monotonic() < ends, found
        time.sleep(0.1)


@pytest.mark.slow
def test_what_can_change_changes(mlflow_server: MlflowServer, registered: list[str], tmp_path: Path) -> None:
    """The pinned models and times in `.env` take effect; the log names the applied and the other changes."""
    values = {
        "GATEWAY_PINNED_MODELS": "api-tens/1",
        "GATEWAY_IDLE_SECONDS": "1",
        "GATEWAY_PRELOAD": "lean",
    }
    with served(mlflow_server, tmp_path, values) as command:
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
        (record,) = command.wait_for_event("settings_reloaded")
        assert record["applied"] == ["GATEWAY_IDLE_SECONDS", "GATEWAY_PINNED_MODELS"]
        assert "GATEWAY_PORT" in record["need_a_restart"]
        assert record["level"] == "warning"
        assert record["changes"]["GATEWAY_PINNED_MODELS"] == "api-tens/1 → api-sums/1"
        until_state(url, "api-sums/1", "warm")
        until_state(url, "api-tens/1", "cold")
        assert command.end() == 0


def test_wrong_settings_change_nothing(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """The log names every problem, the gateway serves on, and later settings without problems are applied."""
    with served(mlflow_server, tmp_path) as command:
        url = address(command)
        change(tmp_path, GATEWAY_LOG_LEVEL="loud", GATEWAY_PROT="1", GATEWAY_IDLE_SECONDS="5")
        command.process.send_signal(signal.SIGHUP)
        (record,) = command.wait_for_event("settings_reload_failed")
        assert "GATEWAY_LOG_LEVEL" in record["message"]
        assert "GATEWAY_PROT" in record["message"]
        assert get(f"{url}/health/live")
        (tmp_path / ".env").write_text(
            (tmp_path / ".env").read_text().replace("loud", "debug").replace("GATEWAY_PROT=1\n", "")
        )
        command.process.send_signal(signal.SIGHUP)
        (record,) = command.wait_for_event("settings_reloaded")
        assert record["applied"] == ["GATEWAY_IDLE_SECONDS", "GATEWAY_LOG_LEVEL"]
        assert record["need_a_restart"] == []
        assert command.end() == 0


def test_without_a_file(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """Without `.env` nothing changes, and the gateway serves on."""
    with served(mlflow_server, tmp_path, file=False) as command:
        url = address(command)
        command.process.send_signal(signal.SIGHUP)
        (record,) = command.wait_for_event("settings_reloaded")
        assert (record["applied"], record["need_a_restart"]) == ([], [])
        assert get(f"{url}/health/live")
        assert command.end() == 0


def test_a_file_that_comes_later_is_not_read(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """A model, which runs as the same user, writes `.env` and sends SIGHUP: nothing changes but the log."""
    with served(mlflow_server, tmp_path, file=False) as command:
        address(command)
        model = tmp_path / ".env"
        model.write_text("GATEWAY_LOG_LEVEL=error\nGATEWAY_MODEL_ERROR_TEXT=true\n")
        command.process.send_signal(signal.SIGHUP)
        (record,) = command.wait_for_event("settings_reload_failed")
        assert ".env did not exist at the start and is not read" in record["message"]
        model.unlink()
        command.process.send_signal(signal.SIGHUP)
        (record,) = command.wait_for_event("settings_reloaded")
        assert record["applied"] == []
        assert command.end() == 0


def test_a_file_that_others_can_write_is_not_read(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """The checks of the start are made again. A quieter log does not hide a reload, nor does the next one."""
    with served(mlflow_server, tmp_path) as command:
        address(command)
        change(tmp_path, GATEWAY_LOG_LEVEL="error")
        (tmp_path / ".env").chmod(0o666)
        command.process.send_signal(signal.SIGHUP)
        (record,) = command.wait_for_event("settings_reload_failed")
        assert ".env is not read: other users can write it" in record["message"]
        (tmp_path / ".env").rename(tmp_path / "elsewhere")
        command.process.send_signal(signal.SIGHUP)
        record = command.wait_for_event("settings_reload_failed", times=2)[1]
        assert ".env does not exist any more" in record["message"]
        (tmp_path / "elsewhere").rename(tmp_path / ".env")
        (tmp_path / ".env").chmod(0o600)
        command.process.send_signal(signal.SIGHUP)
        (record,) = command.wait_for_event("settings_reloaded")
        assert record["changes"] == {"GATEWAY_LOG_LEVEL": "default → error"}
        command.process.send_signal(signal.SIGHUP)
        assert command.wait_for_event("settings_reloaded", times=2)[1]["level"] == "warning"
        assert command.end() == 0


def test_each_of_several_processes_reads_again(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """The supervisor passes SIGHUP on, unless the settings are wrong, which it logs once."""

    def reloaded() -> set[int | None]:
        """Return the processes that have read the settings; None is the supervisor."""
        return {
            record.get("process")
            for record in command.events("settings_reloaded")
            if record["need_a_restart"] == ["GATEWAY_PROCESSES"]
        }

    with served(mlflow_server, tmp_path, {"GATEWAY_PROCESSES": "2"}) as command:
        command.wait_for_event("all_processes_listening")
        below = descendants(command.process.pid)
        change(tmp_path, GATEWAY_LOG_LEVEL="loud")
        command.process.send_signal(signal.SIGHUP)
        command.wait_for_event("settings_reload_failed")
        change(tmp_path, GATEWAY_LOG_LEVEL="debug", GATEWAY_PROCESSES="3")
        command.process.send_signal(signal.SIGHUP)
        command.wait_for_event("settings_reloaded", times=4)
        assert reloaded() == {None, 1, 2, 3}
        assert command.end() == 0
        assert len(command.events("settings_reload_failed")) == 1
    assert still_running(below) == set()
