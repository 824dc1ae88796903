"""Proves what the demo's other programs get of the user's environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.demo.programs import MLFLOW_DEFAULTS, run_guarded

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "x",
    "MLFLOW_TRACKING_TOKEN": "x",
    "DB": "sql://ann:x@host",
    "A_TOKEN": "x",
}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /proc")
def test_no_secret_is_in_their_environment(tmp_path: Path) -> None:
    """Neither in that of the program nor in its guard's, which models of the demo could read."""
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[4]), "COLOR": "blue"}
    with (
        (tmp_path / "errors").open("wb") as errors,
        run_guarded(
            "tests.support.programs.prints_environment",
            environ=kept | SECRETS,
            output=subprocess.PIPE,
            errors=errors,
        ) as guard,
    ):
        assert guard.stdout is not None
        seen = json.loads(guard.stdout.read())
        assert guard.wait() == 0
    assert all(
        environment.keys() <= kept.keys() | MLFLOW_DEFAULTS.keys() | {"LC_CTYPE"} for environment in seen
    )
    assert all(environment["COLOR"] == "blue" for environment in seen)
