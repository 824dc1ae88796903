"""Two nodes that the tests of a process share, and what they need to find a model's home."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.node_client import start_node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.gateway_process import Process
    from tests.support.mlflow_server import MlflowServer


@pytest.fixture(scope="session")
def two_nodes(
    mlflow_server: MlflowServer, registered: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Process]]:
    """Run two nodes for tests that leave them as they are."""
    nodes = [start_node(tmp_path_factory.mktemp("node"), mlflow_server.url) for _ in range(2)]
    yield nodes
    for node in nodes:
        node.end()
