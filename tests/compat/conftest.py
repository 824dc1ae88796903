"""A real MLflow 2.22 server, from a virtual environment of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.mlflow_server import MlflowServer, mlflow_server

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHON = "GATEWAY_TEST_MLFLOW2_PYTHON"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder needs that server, and runs only when it is asked for."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.compat)


@pytest.fixture(scope="session")
def mlflow2_python() -> str:
    """The Python that has MLflow 2.22."""
    python = os.environ.get(PYTHON, "")
    if not python:
        pytest.skip(f"{PYTHON} names no Python with MLflow 2.22: make test-compat makes one")
    return python


@pytest.fixture(scope="session")
def mlflow2_server(
    clean_environment: None, mlflow2_python: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MlflowServer]:
    """An MLflow 2.22 server on SQLite that serves artifacts; its scripts run in MLflow 2.22 too."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow2"), python=mlflow2_python) as server:
        yield server
