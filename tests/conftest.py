"""Fixtures of all tests: a clean environment, and one real MLflow server for the whole run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.support import shared
from tests.support.forkserver import shared_forkservers
from tests.support.gateways import gateway, gateway_with_short_timeout, gateway_without_wall, registered
from tests.support.mlflow_server import MlflowServer, shared_server

if TYPE_CHECKING:
    from collections.abc import Iterator

settings.register_profile("busy-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy-machine")  # no test fails because the machine is busy

__all__ = [
    "clean_environment",
    "forkservers",
    "gateway",
    "gateway_with_short_timeout",
    "gateway_without_wall",
    "mlflow_server",
    "registered",
]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the servers that the test processes of this run shared."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        factory: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined] # public in fixtures alone
        shared.end_all(factory.getbasetemp())


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """Remove the settings of MLflow, AWS and the gateway from the environment of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("MLFLOW_", "AWS_", "GATEWAY_")) and not name.startswith("GATEWAY_TEST_"):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def forkservers() -> Iterator[None]:
    """Let the pools of this process share fork servers."""
    with shared_forkservers():
        yield


@pytest.fixture(scope="session")
def mlflow_server(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> MlflowServer:
    """A real MLflow 3 server on SQLite that serves artifacts; all test processes of the run share it.

    A test uses names of its own there: nothing is removed between tests, and tests run at the same time.
    """
    return shared_server(tmp_path_factory, "mlflow")
