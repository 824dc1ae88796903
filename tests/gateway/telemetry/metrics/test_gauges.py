"""Proves that faults of workers, models, MLflow and artifacts are counted, by having them happen."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from tests.support.faulty_proxy import front
from tests.support.gateways import Gateway, gateway_at, invoke
from tests.support.metrics_page import shown, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.faulty_proxy import Fault
    from tests.support.metrics_page import Shown
    from tests.support.mlflow_server import MlflowServer

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("registered")]

COMMANDS = "/model/api-commands/1/invocation"
VERSION = {"model": "api-commands", "version": "1"}


async def command(gateway: Gateway, text: str) -> int:
    """The status that a command is answered with."""
    status, _ = await invoke(gateway, COMMANDS, json.dumps({"inputs": [{"do": text}]}).encode())
    return status


def damage(cache: Path) -> None:
    """Change a byte of the one model there."""
    (file,) = cache.rglob("MLmodel")
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-1] + b"!")


async def test_a_worker_that_dies(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """Its death, the request that another worker answers, and the worker that takes its place."""
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        assert await command(gateway, "x") == 200
        before = await shown(gateway)
        assert before.of("gateway_worker_starts_total", **VERSION) == 1
        assert before.of("gateway_worker_deaths_total") == 0
        assert before.of("gateway_workers_warm", **VERSION) == 1
        assert await command(gateway, f"die_once {tmp_path}/died") == 200
        after = await until(gateway, lambda page: page.of("gateway_workers_warm", **VERSION) == 1)
        assert after.of("gateway_worker_deaths_total", **VERSION, reason="died") == 1
        assert after.of("gateway_worker_deaths_total", reason="hung") == 0
        assert after.of("gateway_worker_starts_total", **VERSION) == 2
        assert after.of("gateway_requests_retried_total", **VERSION) == 1
        assert await command(gateway, "die") == 500
        last = await until(gateway, lambda page: page.of("gateway_workers_warm", **VERSION) == 1)
        assert last.of("gateway_worker_deaths_total", **VERSION, reason="died") == 3
        assert last.of("gateway_requests_retried_total", **VERSION) == 2
        assert last.of("gateway_invocations_total", **VERSION, status="500") == 1
        assert last.of("gateway_invocations_total", **VERSION, status="200") == 2


async def test_a_worker_that_hangs(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """It is ended and counted as hung, not as died; those who waited are told after their time."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_REQUEST_TIMEOUT_SECONDS="2") as gateway:
        assert await command(gateway, "x") == 200
        waiting = [asyncio.create_task(command(gateway, "sleep 60")) for _ in range(6)]
        page = await until(gateway, lambda page: page.of("gateway_requests_running", **VERSION) >= 1)
        assert page.of("gateway_requests_in_flight") >= 2
        assert await asyncio.gather(*waiting) == [504] * 6
        hung = {**VERSION, "reason": "hung"}
        page = await until(gateway, lambda page: page.of("gateway_worker_deaths_total", **hung) == 1)
        assert page.of("gateway_worker_deaths_total", **VERSION, reason="died") == 0
        assert page.of("gateway_invocation_seconds_count", status="5xx") == 6
        assert page.of("gateway_invocation_seconds_sum", status="5xx") >= 12


async def test_a_full_queue(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """As many refusals as clients saw; who waits is seen meanwhile, and is dropped once its client goes."""
    asked: list[asyncio.Task[int]] = []

    def fill(page: Shown) -> bool:
        """Ask for more than there is room for, until the queue is full behind what the worker has."""
        if page.of("gateway_requests_waiting", **VERSION) == 2:
            return True
        asked.extend(asyncio.create_task(command(gateway, "sleep 50")) for _ in range(6))
        return False

    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_MAX_QUEUE="2") as gateway:
        assert await command(gateway, "x") == 200
        await until(gateway, fill)
        refusals = "gateway_queue_refusals_total"
        await until(gateway, lambda page: page.of(refusals, **VERSION) == len(done(asked)) > 0)
        assert {task.result() for task in done(asked)} == {503}
        gone = len(asked) - len(done(asked))
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        page = await until(gateway, lambda page: page.of("gateway_requests_dropped_total", **VERSION) == 2)
        assert page.of("gateway_requests_waiting", **VERSION) == 0
        await until(gateway, lambda page: page.of("gateway_requests_total", status="499") == gone > 2)


def done(tasks: list[asyncio.Task[int]]) -> list[asyncio.Task[int]]:
    return [task for task in tasks if task.done()]


async def test_models_come_and_go(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """Loads that worked and did not, the fetching of files, and why a model was unloaded."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_MAX_LOADED_MODELS="1") as gateway:
        assert (await invoke(gateway, "/model/api-sums/1/invocation"))[0] == 200
        assert (await invoke(gateway, "/model/api-tens/1/invocation"))[0] == 200
        assert (await invoke(gateway, "/model/api-broken/1/invocation"))[0] == 424
        page = await shown(gateway)
        assert page.of("gateway_model_loads_total", model="api-sums", version="1", outcome="loaded") == 1
        assert page.of("gateway_model_loads_total", model="api-broken", outcome="failed") == 1
        assert page.of("gateway_model_loads_total") == 3
        assert page.of("gateway_model_unloads_total", model="api-sums", version="1", reason="room") == 1
        assert page.of("gateway_artifact_fetches_total", outcome="fetched") == 3
        assert page.of("gateway_artifact_fetched_bytes_total") > 1000
        assert page.of("gateway_invocations_total", model="api-broken", status="424") == 1
        assert (await invoke(gateway, "/model/api-tens/1/invocation"))[0] == 200
        page = await shown(gateway)
        assert page.of("gateway_models_loaded") == 1
        async with gateway.post("/v2/repository/models/api-tens/unload") as answer:
            assert answer.status == 200
        page = await shown(gateway)
        assert page.of("gateway_model_unloads_total", model="api-tens", reason="asked") == 1
        assert page.of("gateway_models_loaded") == 0
        assert page.of("gateway_workers_warm") == 0


async def test_mlflow_away(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """Each answer from memory is counted, and each call to MLflow by how it ended."""
    async with (
        front(mlflow_server.url) as proxy,
        gateway_at(proxy.url, tmp_path, GATEWAY_CATALOG_TTL_SECONDS="0") as gateway,
    ):
        path = "/model/api-sums/@champion/invocation"
        assert (await invoke(gateway, path))[0] == 200
        assert (await shown(gateway)).of("gateway_stale_resolutions_total") == 0
        proxy.fault = "away"
        for _ in range(3):
            assert (await invoke(gateway, path))[0] == 200
        page = await shown(gateway)
        assert page.of("gateway_stale_resolutions_total") == 3
        assert page.of("gateway_mlflow_away") == 1
        assert page.of("gateway_mlflow_lookups_total", outcome="away") >= 1
        assert page.of("gateway_mlflow_lookups_total", outcome="answered") >= 1
        proxy.fault = ""
        await until(gateway, lambda page: page.of("gateway_mlflow_away") == 0)


@pytest.mark.parametrize("fault", ["wrong", "away"])
async def test_files_that_cannot_be_fetched(
    mlflow_server: MlflowServer, tmp_path: Path, fault: Fault
) -> None:
    """Whatever is wrong with MLflow, it counts as away; nothing was loaded then, nor failed to load."""
    async with (
        front(mlflow_server.url) as proxy,
        gateway_at(proxy.url, tmp_path, GATEWAY_CATALOG_TTL_SECONDS="600") as gateway,
    ):
        async with gateway.get("/v2/models/api-sums/versions/1/ready") as answer:
            assert answer.status == 200
        proxy.fault = fault
        status, _ = await invoke(gateway, "/model/api-sums/1/invocation")
        assert status in {502, 503}
        page = await shown(gateway)
        assert page.of("gateway_artifact_fetches_total", outcome="away") == 1
        assert page.of("gateway_artifact_fetches_total") == 1
        assert page.of("gateway_model_loads_total") == 0
        assert page.of("gateway_invocations_total", model="api-sums", version="1", status=str(status)) == 1


async def test_damaged_files_and_evictions(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """A cached file that was changed is found at the next start; of two models that do not fit one goes."""
    one = "/model/api-sums/1/invocation"
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        assert (await invoke(gateway, one))[0] == 200
        size = (await shown(gateway)).of("gateway_artifact_fetched_bytes_total")
    damage(tmp_path)
    room = str(int(size * 1.5))
    async with gateway_at(
        mlflow_server.url, tmp_path, GATEWAY_CACHE_MAX_BYTES=room, GATEWAY_MAX_LOADED_MODELS="1"
    ) as gateway:
        assert (await invoke(gateway, one))[0] == 200
        page = await shown(gateway)
        assert page.of("gateway_artifact_caches_damaged_total") == 1
        assert page.of("gateway_artifact_cache_evictions_total") == 0
        assert (await invoke(gateway, "/model/api-sums/2/invocation"))[0] == 200
        page = await shown(gateway)
        assert page.of("gateway_artifact_cache_evictions_total") == 1
        assert page.of("gateway_artifact_fetches_total", outcome="fetched") == 2
