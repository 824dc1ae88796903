"""A node that the tests of a process share, and the versions of the models that they load."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.node_client import start_node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.gateway_process import Process
    from tests.support.mlflow_server import MlflowServer


@pytest.fixture(scope="session")
def node(
    mlflow_server: MlflowServer, registered: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    """Run a node for all tests of this process."""
    process = start_node(tmp_path_factory.mktemp("node"), mlflow_server.url)
    yield process
    process.end()
