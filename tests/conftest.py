"""What every test shares: a clean environment, one real MLflow server, and the end of both."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support import shared
from tests.support.gateways import gateway, registered
from tests.support.mlflow_server import MlflowServer, shared_server

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["clean_environment", "gateway", "mlflow_server", "registered"]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the servers that the test processes of this run shared."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        factory: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined] # public in fixtures alone
        shared.end_all(factory.getbasetemp())


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """No test reads the settings of MLflow, AWS or the gateway from the shell that started it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("MLFLOW_", "AWS_", "GATEWAY_")) and not name.startswith("GATEWAY_TEST_"):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def mlflow_server(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> MlflowServer:
    """A real MLflow 3 server on SQLite that serves artifacts; one for the whole run.

    Tests use names of their own in it, since nothing is removed between them.
    """
    return shared_server(tmp_path_factory, "mlflow")
