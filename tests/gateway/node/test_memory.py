"""The memory of an idle node, and which packages it is of."""

from __future__ import annotations

import asyncio
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.gateway_process import Process
from tests.support.mlflow_server import free_port
from tests.support.process_memory import anonymous, pss

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.mlflow_server import MlflowServer

pytestmark = [pytest.mark.slow, pytest.mark.serial]
MIB = 2**20
SETTLED_SECONDS = 3.0
HEAVY = {
    "cryptography",
    "grpc",
    "lxml",
    "markupsafe",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "sklearn",
    "wrapt",
}


@contextmanager
def node_command(folder: Path, server: MlflowServer, **chosen: str) -> Iterator[Process]:
    """Run the command `gateway node` with the default settings, except those that are `chosen`."""
    values = {
        "MLFLOW_TRACKING_URI": server.url,
        "GATEWAY_CACHE_DIR": str(folder / "cache"),
        "GATEWAY_ENVIRONMENTS": "needed",
        "GATEWAY_FLEET_TOKEN": "0123456789abcdef0123456789abcdef",
        "GATEWAY_LOG_FORMAT": "json",
        "GATEWAY_NODE_PORT": "0",
        **chosen,
    }
    process = Process(folder, values, program="node_command", python=sys.executable, preexec=None)
    try:
        yield process
    finally:
        process.end()


@pytest.mark.parametrize("has_pages", [False, True], ids=["links alone", "health and metrics too"])
async def test_an_idle_node_takes_at_most_60_mib(
    tmp_path: Path, mlflow_server: MlflowServer, *, has_pages: bool
) -> None:
    """The agent alone: its fork server shares its pages with the workers.

    Its own memory is limited too, whichever other programs happen to share its files: these are 20 MiB, of
    which its fork server has 10 as well.
    """
    pages = {"GATEWAY_NODE_METRICS_PORT": str(free_port())} if has_pages else {}
    with node_command(tmp_path, mlflow_server, **pages) as node:
        await node.wait_for("node_listening")
        await asyncio.sleep(SETTLED_SECONDS)
        assert pss(node.pid) <= 60 * MIB
        assert anonymous(node.pid) <= 48 * MIB
        assert not HEAVY & mapped_packages(node.pid)


def mapped_packages(pid: int) -> set[str]:
    """Return the packages whose compiled parts a process has in memory."""
    found = set()
    for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
        _, separator, path = line.partition("/site-packages/")
        if separator:
            found.add(path.partition("/")[0].partition(".")[0])
    assert "pydantic_core" in found
    return found
