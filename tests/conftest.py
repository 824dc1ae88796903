"""What every test shares: a clean environment and one real MLflow server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.gateways import gateway, registered
from tests.support.mlflow_server import MlflowServer
from tests.support.mlflow_server import mlflow_server as started

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["clean_environment", "gateway", "mlflow_server", "registered"]


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """No test reads the settings of MLflow, AWS or the gateway from the shell that started it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("MLFLOW_", "AWS_", "GATEWAY_")) and not name.startswith("GATEWAY_TEST_"):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def mlflow_server(
    clean_environment: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MlflowServer]:
    """A real MLflow 3 server on SQLite that serves artifacts; shared by the whole session.

    Tests use names of their own in it, since nothing is removed between them.
    """
    with started(tmp_path_factory.mktemp("mlflow")) as server:
        yield server
