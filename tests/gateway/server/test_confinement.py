"""Proves what an operator reads of the wall at the start and in `gateway check`, on kernels with less."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.server import confinement
from gateway.system.wall import WallStatus
from tests.support.confined import HERE
from tests.support.mlflow_server import environment
from workers.wall import support
from workers.wall.policy import WallMode, WallPolicy

ROOT = Path(__file__).resolve().parents[3]


def command(*arguments: str, cwd: Path, **values: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the gateway where Landlock is forbidden, as in an old container engine."""
    if not HERE.landlock_abi or not HERE.seccomp:
        pytest.skip("this kernel has no Landlock that could be forbidden")
    extra = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "GATEWAY_CACHE_DIR": str(cwd / "cache")}
    return subprocess.run(
        [sys.executable, "-m", "tests.support.programs.without_landlock", *arguments],
        env=environment(extra | {"PYTHONPATH": str(ROOT), "TMPDIR": str(cwd)} | values),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_require_refuses_to_start(tmp_path: Path) -> None:
    """Status 2, and the reason in the log."""
    done = command("serve", cwd=tmp_path, GATEWAY_WORKER_WALL="require", GATEWAY_LOG_FORMAT="json")
    assert done.returncode == 2
    *_, line = map(json.loads, done.stderr.splitlines())
    assert (line["event"], line["level"]) == ("start_failed", "error")
    assert "GATEWAY_WORKER_WALL is require" in line["message"]
    assert "this container's seccomp profile forbids Landlock" in line["message"]


@pytest.mark.parametrize(("mode", "word"), [("auto", "OK"), ("require", "failed")])
def test_check_says_what_is_missing(tmp_path: Path, mode: str, word: str) -> None:
    """It fails only if the settings require the wall."""
    done = command("check", cwd=tmp_path, GATEWAY_WORKER_WALL=mode)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("wall")]
    assert line.split()[:2] == ["wall", word]
    assert "confined by seccomp; this container's seccomp profile forbids Landlock" in line


@pytest.mark.parametrize(
    ("mode", "abi", "level", "event", "text"),
    [
        ("auto", 6, "INFO", "workers_confined", "Workers are confined by Landlock 6 and seccomp"),
        ("require", 7, "INFO", "workers_confined", "Workers are confined by Landlock 7 and seccomp"),
        ("auto", 5, "WARNING", "wall_incomplete", "a model can end or stop processes"),
        ("auto", 0, "WARNING", "wall_incomplete", "a model can read and change every file"),
        ("off", 7, "WARNING", "wall_incomplete", "GATEWAY_WORKER_WALL is off"),
    ],
)
def test_the_log_at_the_start(
    caplog: pytest.LogCaptureFixture, *, mode: WallMode, abi: int, level: str, event: str, text: str
) -> None:
    """One line: information if nothing is missing, else a warning that says what a model can do."""
    wall = WallStatus(WallPolicy(mode), support.assess(abi, seccomp=True, machine="x86_64"))
    with caplog.at_level(logging.INFO, logger="gateway"):
        confinement.report(wall)
    (record,) = caplog.records
    assert (record.levelname, vars(record)["event"]) == (level, event)
    assert text in record.getMessage()
