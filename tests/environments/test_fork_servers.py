"""Proves that environments do not depend on each other once they run."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

from tests.environments.asking import SECONDS, ask, details, run_gateway
from tests.environments.processes import processes_in
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.environments.made import MadeModel
    from tests.support.gateway_process import Process
    from tests.support.mlflow_server import MlflowServer

KILLED, OTHER, SHARED = "mlflow130-boosted", "mlflow219-code", "today-code"


async def test_a_killed_fork_server_is_replaced_and_no_other_environment_notices(
    trained: dict[str, MadeModel], mlflow_server: MlflowServer, built_once: str, tmp_path: Path
) -> None:
    """Under load, only the models of its own environment fail for a moment, and then answer again."""
    with run_gateway(mlflow_server, tmp_path, GATEWAY_ENVIRONMENTS_DIR=built_once) as process:
        for name in (KILLED, OTHER, SHARED):
            assert (await ask(process.url, name))[0] == 200
        digest = (await details(process.url, KILLED))["environment"]["digest"]
        others = asyncio.gather(*(keep_asking(process, name, 100) for name in (OTHER, SHARED)))
        victims = processes_in(process, digest)
        assert victims
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        assert [set(statuses) for statuses in await others] == [{200}, {200}]
        status, answer = await ask(process.url, KILLED)
        if status != 200:  # its worker had just died
            await until(lambda: not victims & processes_in(process, digest), within=SECONDS)
            status, answer = await ask(process.url, KILLED)
        assert (status, answer["predictions"]) == (200, trained[KILLED].answers)
        exits = process.events("worker_exited")
        assert {record["model"] for record in exits} <= {f"{KILLED}/1"}


async def test_a_model_comes_back_in_an_environment_that_runs(
    trained: dict[str, MadeModel], mlflow_server: MlflowServer, built_once: str, tmp_path: Path
) -> None:
    """A second model of the same requirements uses the fork server that there is."""
    with run_gateway(mlflow_server, tmp_path, GATEWAY_ENVIRONMENTS_DIR=built_once) as process:
        assert (await ask(process.url, "mlflow130-boosted"))[0] == 200
        assert (await ask(process.url, "mlflow130-forest"))[0] == 200
        assert len(process.events("environment_ready")) == 1


async def keep_asking(process: Process, name: str, times: int) -> list[int]:
    """Return the statuses of `times` requests, one after the other."""
    return [(await ask(process.url, name))[0] for _ in range(times)]
