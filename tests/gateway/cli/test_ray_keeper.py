"""Proves that `gateway ray-keeper` runs the keeper by the operator's interpreter, until it is stopped."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from pathlib import Path

import pytest

from gateway.engines.ray.keeper_process import PROGRAM
from tests.support.commands import gateway, running, still_running

PLAYED = Path(__file__).parents[2] / "support" / "programs" / "played_keeper.py"


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """Settings whose interpreter notes its arguments and runs a keeper without Ray."""
    python = tmp_path / "python"
    words = shlex.join([sys.executable, str(PLAYED)])
    python.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    python.chmod(0o700)
    command = f"node {shlex.quote(str(tmp_path))}"
    return {"GATEWAY_RAY_PYTHON": str(python), "GATEWAY_RAY_NODE_COMMAND": command}


def test_members_are_printed_until_it_is_stopped(settings: dict[str, str], tmp_path: Path) -> None:
    """No MLflow server is named; Ctrl-C ends the keeper, with status 0."""
    with running("ray-keeper", cwd=tmp_path, extra=settings) as command:
        assert '"name": "a"' in command.wait_for('"members"')
        note = json.loads((tmp_path / "run-0").read_text())
        assert command.end(signal.SIGINT) == 0
    assert note["arguments"][1:] == [str(PROGRAM)]
    assert note["order"]["namespace"] == "gateway"
    assert still_running({note["pid"], note["child"]}) == set()


def test_terminated(settings: dict[str, str], tmp_path: Path) -> None:
    """A service manager stops it by SIGTERM, and what the keeper has started ends too."""
    with running("ray-keeper", cwd=tmp_path, extra=settings) as command:
        command.wait_for('"members"')
        note = json.loads((tmp_path / "run-0").read_text())
        command.end()
    assert still_running({note["pid"], note["child"]}) == set()


def test_wrong_settings_start_nothing(settings: dict[str, str], tmp_path: Path) -> None:
    """The problem names the setting."""
    result = gateway(
        "ray-keeper", cwd=tmp_path, extra=settings | {"GATEWAY_RAY_ADDRESS": "http://head:10001"}
    )
    assert result.returncode == 2
    assert "GATEWAY_RAY_ADDRESS" in result.stderr
    assert not (tmp_path / "run-0").exists()
