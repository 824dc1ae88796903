"""Proves that faults of workers, models, MLflow and artifacts are counted, by causing them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from tests.support.faulty_proxy import faulty_proxy
from tests.support.gateways import NO_WALL, Gateway, gateway_at, invoke
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
    """Return the status of the response to a command."""
    status, _ = await invoke(gateway, COMMANDS, json.dumps({"inputs": [{"do": text}]}).encode())
    return status


def damage(cache: Path) -> None:
    """Change a byte of the only model in the cache."""
    (file,) = cache.rglob("MLmodel")
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-1] + b"!")


async def test_a_worker_that_dies(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """The page counts its exit, the retried request, and the start of its replacement."""
    async with gateway_at(mlflow_server.url, tmp_path, **NO_WALL) as gateway:
        assert await command(gateway, "x") == 200
        before = await shown(gateway)
        assert before.of("gateway_worker_starts_total", **VERSION) == 1
        assert before.of("gateway_worker_exits_total") == 0
        assert before.of("gateway_workers", **VERSION) == 1
        assert await command(gateway, f"die_once {tmp_path}/died") == 200
        after = await until(gateway, lambda page: page.of("gateway_workers", **VERSION) == 1)
        assert after.of("gateway_worker_exits_total", **VERSION, reason="crash") == 1
        assert after.of("gateway_worker_exits_total", reason="timeout") == 0
        assert after.of("gateway_worker_starts_total", **VERSION) == 2
        assert after.of("gateway_prediction_retries_total", **VERSION) == 1
        assert await command(gateway, "die") == 500
        last = await until(gateway, lambda page: page.of("gateway_workers", **VERSION) == 1)
        assert last.of("gateway_worker_exits_total", **VERSION, reason="crash") == 3
        assert last.of("gateway_prediction_retries_total", **VERSION) == 2
        assert last.of("gateway_predictions_total", **VERSION, code="500") == 1
        assert last.of("gateway_predictions_total", **VERSION, code="200") == 2


async def test_a_worker_that_hangs(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """It is killed and counted as hung, not as died; the queued requests fail after their time limit."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_REQUEST_TIMEOUT_SECONDS="2") as gateway:
        assert await command(gateway, "x") == 200
        waiting = [asyncio.create_task(command(gateway, "sleep 60")) for _ in range(6)]
        page = await until(gateway, lambda page: page.of("gateway_active_predictions", **VERSION) >= 1)
        assert page.of("gateway_requests_in_flight") >= 2
        assert await asyncio.gather(*waiting) == [504] * 6
        hung = {**VERSION, "reason": "timeout"}
        page = await until(gateway, lambda page: page.of("gateway_worker_exits_total", **hung) == 1)
        assert page.of("gateway_worker_exits_total", **VERSION, reason="crash") == 0
        assert page.of("gateway_prediction_duration_seconds_count", code="5xx") == 6
        assert page.of("gateway_prediction_duration_seconds_sum", code="5xx") >= 12


async def test_a_full_queue(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """The page counts rejections, shows queued requests, and counts them as dropped on a disconnect."""
    requests: list[asyncio.Task[int]] = []

    def fill(page: Shown) -> bool:
        """Send more requests until the queue is full behind those that the worker runs."""
        if page.of("gateway_queued_requests", **VERSION) == 2:
            return True
        requests.extend(asyncio.create_task(command(gateway, "sleep 50")) for _ in range(6))
        return False

    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_MAX_QUEUE="2") as gateway:
        assert await command(gateway, "x") == 200
        await until(gateway, fill)
        rejections = "gateway_queue_rejections_total"
        await until(gateway, lambda page: page.of(rejections, **VERSION) == len(done(requests)) > 0)
        assert {task.result() for task in done(requests)} == {503}
        gone = len(requests) - len(done(requests))
        for task in requests:
            task.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
        page = await until(
            gateway,
            lambda page: page.of("gateway_predictions_abandoned_total", **VERSION, reason="disconnect") == 2,
        )
        assert page.of("gateway_queued_requests", **VERSION) == 0
        await until(gateway, lambda page: page.of("gateway_http_requests_total", code="499") == gone > 2)


def done(tasks: list[asyncio.Task[int]]) -> list[asyncio.Task[int]]:
    return [task for task in tasks if task.done()]


async def test_models_come_and_go(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """The page counts successful and failed loads, downloads, and unloads by their reason."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_MAX_LOADED_MODELS="1") as gateway:
        assert (await invoke(gateway, "/model/api-sums/1/invocation"))[0] == 200
        assert (await invoke(gateway, "/model/api-tens/1/invocation"))[0] == 200
        assert (await invoke(gateway, "/model/api-broken/1/invocation"))[0] == 424
        page = await shown(gateway)
        assert page.of("gateway_model_loads_total", model="api-sums", version="1", outcome="loaded") == 1
        assert page.of("gateway_model_loads_total", model="api-broken", outcome="failed") == 1
        assert page.of("gateway_model_loads_total") == 3
        assert page.of("gateway_model_unloads_total", model="api-sums", version="1", reason="capacity") == 1
        assert page.of("gateway_artifact_downloads_total", outcome="ok") == 3
        assert page.of("gateway_artifact_downloaded_bytes_total") > 1000
        assert page.of("gateway_predictions_total", model="api-broken", code="424") == 1
        assert (await invoke(gateway, "/model/api-tens/1/invocation"))[0] == 200
        page = await shown(gateway)
        assert page.of("gateway_models_loaded") == 1
        async with gateway.post("/v2/repository/models/api-tens/unload") as answer:
            assert answer.status == 200
        page = await shown(gateway)
        assert page.of("gateway_model_unloads_total", model="api-tens", reason="request") == 1
        assert page.of("gateway_models_loaded") == 0
        assert page.of("gateway_workers") == 0


async def test_mlflow_away(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """The page counts each response from the cache, and each call to MLflow by its outcome."""
    async with (
        faulty_proxy(mlflow_server.url) as proxy,
        gateway_at(proxy.url, tmp_path, GATEWAY_CATALOG_TTL_SECONDS="0") as gateway,
    ):
        path = "/model/api-sums/@champion/invocation"
        assert (await invoke(gateway, path))[0] == 200
        assert (await shown(gateway)).of("gateway_catalog_stale_hits_total") == 0
        proxy.fault = "away"
        for _ in range(3):
            assert (await invoke(gateway, path))[0] == 200
        page = await shown(gateway)
        assert page.of("gateway_catalog_stale_hits_total") == 3
        assert page.of("gateway_mlflow_up") == 0
        assert page.of("gateway_mlflow_requests_total", outcome="unavailable") >= 1
        assert page.of("gateway_mlflow_requests_total", outcome="ok") >= 1
        proxy.fault = ""
        await until(gateway, lambda page: page.of("gateway_mlflow_up") == 1)


@pytest.mark.parametrize("fault", ["wrong", "away"])
async def test_files_that_cannot_be_fetched(
    mlflow_server: MlflowServer, tmp_path: Path, fault: Fault
) -> None:
    """Any fault of MLflow counts as away, and no load is counted, neither successful nor failed."""
    async with (
        faulty_proxy(mlflow_server.url) as proxy,
        gateway_at(proxy.url, tmp_path, GATEWAY_CATALOG_TTL_SECONDS="600") as gateway,
    ):
        async with gateway.get("/v2/models/api-sums/versions/1/ready") as answer:
            assert answer.status == 200
        proxy.fault = fault
        status, _ = await invoke(gateway, "/model/api-sums/1/invocation")
        assert status in {502, 503}
        page = await shown(gateway)
        assert page.of("gateway_artifact_downloads_total", outcome="unavailable") == 1
        assert page.of("gateway_artifact_downloads_total") == 1
        assert page.of("gateway_model_loads_total") == 0
        assert page.of("gateway_predictions_total", model="api-sums", version="1", code=str(status)) == 1


async def test_damaged_files_and_evictions(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """A changed file in the cache is found after a restart; of two models that do not fit, one is evicted."""
    one = "/model/api-sums/1/invocation"
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        assert (await invoke(gateway, one))[0] == 200
        size = (await shown(gateway)).of("gateway_artifact_downloaded_bytes_total")
    damage(tmp_path)
    room = str(int(size * 1.5))
    async with gateway_at(
        mlflow_server.url, tmp_path, GATEWAY_CACHE_MAX_BYTES=room, GATEWAY_MAX_LOADED_MODELS="1"
    ) as gateway:
        assert (await invoke(gateway, one))[0] == 200
        page = await shown(gateway)
        assert page.of("gateway_artifact_cache_corruptions_total") == 1
        assert page.of("gateway_artifact_cache_evictions_total") == 0
        assert (await invoke(gateway, "/model/api-sums/2/invocation"))[0] == 200
        page = await shown(gateway)
        assert page.of("gateway_artifact_cache_evictions_total") == 1
        assert page.of("gateway_artifact_downloads_total", outcome="ok") == 2
