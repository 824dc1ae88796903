"""Proves that a gateway with the engine `ray` serves models on real nodes that Ray starts."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import descendants
from tests.support.gateways import BODY, NO_ENVIRONMENTS, gateway_at
from tests.support.mlflow_server import environment
from tests.support.ray_cluster import VARIABLES, ray_cluster
from tests.support.waiting import poll

if TYPE_CHECKING:
    from tests.support.gateways import Gateway
    from tests.support.mlflow_server import MlflowServer

PYTHON = os.environ.get("GATEWAY_TEST_RAY_PYTHON", "")
TOKEN = "sesame-sesame-sesame-sesame-sesame"  # noqa: S105 - of this test
COMMAND = [sys.executable, "-m", "gateway", "node"]
pytestmark = pytest.mark.ray


async def test_prediction_on_a_node_that_ray_keeps(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """The model runs below the agent; the agent is SIGKILLed, and its successor serves the same model."""
    assert PYTHON, "GATEWAY_TEST_RAY_PYTHON names no interpreter: run `make test-ray`"
    of_nodes = environment(
        {
            "MLFLOW_TRACKING_URI": mlflow_server.url,
            "GATEWAY_CACHE_DIR": str(tmp_path / "node"),
            **NO_ENVIRONMENTS,
        }
    )
    with (
        tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as folder,
        ray_cluster(Path(folder), PYTHON, spared=b"gateway\0node", environment=of_nodes) as cluster,
    ):
        await asyncio.to_thread(cluster.add_node)
        values = {
            "GATEWAY_ENGINE": "ray",
            "GATEWAY_FLEET_TOKEN": TOKEN,
            "GATEWAY_RAY_ADDRESS": cluster.head["address"],
            "GATEWAY_RAY_PYTHON": PYTHON,
            "GATEWAY_RAY_NODE_COMMAND": shlex.join(COMMAND),
            **VARIABLES,
        }
        async with gateway_at(mlflow_server.url, tmp_path / "gateway", **values) as gateway:
            assert await predicted(gateway) == [6.0, 14.0]
            (agent,) = [pid for pid in cluster.processes() if b"gateway\0node" in arguments(pid)]
            assert descendants(agent), "no worker runs below the agent"
            os.kill(agent, signal.SIGKILL)
            assert await predicted(gateway) == [6.0, 14.0]


async def predicted(gateway: Gateway) -> object:
    """Return the predictions as soon as a node serves the model."""

    async def ask() -> tuple[int, object]:
        async with gateway.post(
            "/model/api-sums/2/invocation", data=BODY, headers={"Content-Type": "application/json"}
        ) as answer:
            return answer.status, (await answer.json()).get("predictions")

    _, predictions = await poll(ask, lambda result: result[0] == 200, within=120.0, interval=0.5)
    return predictions


def arguments(pid: int) -> bytes:
    """Return the arguments of a process, or nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
