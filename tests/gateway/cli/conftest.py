"""One `gateway demo` for the session: a real process, trained from nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import running
from tests.support.mlflow_server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.commands import Running


@dataclass(frozen=True, slots=True)
class Demo:
    """A running demo: its addresses, its folder and what it printed."""

    base: str
    mlflow: str
    folder: Path
    command: Running


@pytest.fixture(scope="session")
def demo(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo in an empty folder, up and ready; its models are for looking at only."""
    folder = tmp_path_factory.mktemp("demo")
    port = free_port()
    # settings that would lead another gateway elsewhere; the demo's own MLflow must win
    extra = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_TRACKING_TOKEN": "nobody's"}
    with running("demo", "--port", str(port), cwd=folder, extra=extra) as command:
        ready = command.wait_for("ready: ")
        command.wait_for("To stop: ")
        yield Demo(f"http://127.0.0.1:{port}", ready.split()[-1], folder / "demo-data", command)
