"""Clients that others wrote, from a virtual environment of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.gateways import ROOT
from tests.support.mlflow_server import environment

if TYPE_CHECKING:
    from tests.support.mlflow_server import MlflowServer

PYTHON = "GATEWAY_TEST_CLIENTS_PYTHON"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder needs those clients, and runs only when it is asked for."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.clients)


@pytest.fixture(scope="session")
def clients_python() -> str:
    """The Python that has the clients."""
    python = os.environ.get(PYTHON, "")
    if not python:
        pytest.skip(f"{PYTHON} names no Python with the clients: make test-clients makes one")
    return python


@pytest.fixture(scope="session")
def asked(clients_python: str, mlflow_server: MlflowServer, registered: list[str]) -> None:
    """The models that the clients ask are registered."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.clients.registering"],
        env=environment({"MLFLOW_TRACKING_URI": mlflow_server.url}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
