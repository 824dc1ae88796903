"""Proves what a gateway does while its MLflow server fails, and that it recovers by itself."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Any, get_args

import pytest

from gateway.api.keys import COMPONENTS
from gateway.catalog.catalog import STALE_HITS
from tests.support import waiting
from tests.support.callers import CALLERS, calling
from tests.support.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.support.figures import note
from tests.support.gateways import Gateway, gateway_at, invoke

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

FAST_FAULTS = ("away", "html")
FAULTS = [
    fault if fault in FAST_FAULTS else pytest.param(fault, marks=pytest.mark.slow)
    for fault in get_args(Fault)
    if fault
]
WARM = {
    "/model/api-tens/latest/invocation": [30.0, 70.0],
    "/model/api-sums/@champion/invocation": [6.0, 14.0],
}
CACHED = "/model/api-sums/1/invocation"
UNKNOWN = "/model/api-sums/3/invocation"
PATIENCE_SECONDS = 60.0


@pytest.fixture
async def mlflow(mlflow_server: MlflowServer, registered: list[str]) -> AsyncIterator[FaultyProxy]:
    """A proxy with faults in front of a real MLflow server."""
    async with faulty_proxy(mlflow_server.url) as proxy:
        yield proxy


@pytest.fixture
async def served(mlflow: FaultyProxy, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway with two loaded models, and with the files of a third one in its cache."""
    values = {"GATEWAY_CATALOG_TTL_SECONDS": "0.4", "MLFLOW_HTTP_REQUEST_TIMEOUT": "3"}
    async with gateway_at(mlflow.url, tmp_path, **values) as gateway:
        for path in (*WARM, CACHED):
            assert (await invoke(gateway, path))[0] == 200
        await unload(gateway, "api-sums", version="1")
        yield gateway


async def unload(gateway: Gateway, name: str, *, version: str) -> None:
    """Unload a version; its files stay in the cache."""
    engine = gateway.app[COMPONENTS].engine
    await engine.unload(*(key for key in engine.statuses() if (key.name, key.version) == (name, version)))


async def get(gateway: Gateway, path: str) -> tuple[int, Any]:
    """Return the status and the JSON of a GET request."""
    async with gateway.get(path) as response:
        return response.status, await response.json()


async def until(holds: Callable[[Any], bool], gateway: Gateway) -> None:
    """Wait until `holds` is true for MLflow's part of /health/ready, which must have status 200 always."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            status, body = await get(gateway, "/health/ready")
            assert status == 200
            if holds(body["mlflow"]):
                return
            await asyncio.sleep(0.05)


async def predict_unavailable(gateway: Gateway, path: str) -> float:
    """Send a prediction that fails because of MLflow, with 503 and Retry-After; return its seconds."""
    began = perf_counter()
    body = {"inputs": {"a": [1.0], "b": [2.0]}}
    async with asyncio.timeout(PATIENCE_SECONDS), gateway.post(path, json=body) as response:
        error = await response.json()
        assert (response.status, error["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE"), error
        assert response.headers["Retry-After"]
        assert "MLflow" in error["message"]
    return perf_counter() - began


@pytest.mark.parametrize("fault", FAULTS)
async def test_known_models_are_served(mlflow: FaultyProxy, served: Gateway, fault: Fault) -> None:
    """Loaded and cached models are served without one failure, others get 503; afterwards all are served."""
    async with calling(served, WARM) as callers:
        mlflow.fault = fault
        await until(lambda mlflow: mlflow["away"] is not None and mlflow["since"] is not None, served)
        status, answer = await invoke(served, CACHED)
        assert (status, answer["predictions"]) == (200, [3.0, 7.0])
        unavailable = max([await predict_unavailable(served, UNKNOWN) for _ in range(3)])
        for path in ("/model/", "/model/api-tens", "/model/api-tens/1"):
            status, error = await get(served, path)
            assert (status, "MLflow" in error["message"]) == (503, True), path
        during = callers.right + CALLERS
        await waiting.until(lambda: callers.right > during)
        mlflow.fault = ""
        ended = perf_counter()
        await until(lambda mlflow: mlflow["away"] is None and mlflow["since"] is None, served)
        reached = perf_counter() - ended
        status, answer = await invoke(served, UNKNOWN)
        assert (status, answer["predictions"]) == (200, [9.0, 21.0])
        answered = perf_counter() - ended
        afterwards = callers.right + CALLERS
        await waiting.until(lambda: callers.right > afterwards)
    note(f"MLflow {fault}", unavailable=unavailable, reached=reached, answered=answered, right=callers.right)
    assert callers.wrong == {}
    assert served.app[COMPONENTS].counters.value(STALE_HITS) > 0


@pytest.mark.slow
async def test_many_unknown_models_while_mlflow_hangs(mlflow: FaultyProxy, served: Gateway) -> None:
    """Their requests share a few connections and fail; later ones fail without a call."""
    async with calling(served, WARM) as callers:
        mlflow.fault = "slow"
        first = [
            predict_unavailable(served, f"/model/unknown-{number}/1/invocation") for number in range(100)
        ]
        slowest = max(await asyncio.gather(*first))
        assert mlflow.most_waiting <= 32
        calls = len(mlflow.calls)
        later = await asyncio.gather(
            *(predict_unavailable(served, f"/model/late-{number}/1/invocation") for number in range(20))
        )
        note("MLflow hangs, many unknown models", slowest=slowest, later=sorted(later)[10])
        assert len(mlflow.calls) - calls <= 10  # attempts to reach MLflow again
        assert mlflow.waiting <= 2
        mlflow.fault = ""
    assert callers.wrong == {}


async def test_recovery_needs_no_request(mlflow: FaultyProxy, served: Gateway) -> None:
    """The gateway notices that MLflow is available again although no client sends a request."""
    mlflow.fault = "away"
    await predict_unavailable(served, UNKNOWN)
    mlflow.fault = ""
    calls = len(mlflow.calls)
    await waiting.until(lambda: served.app[COMPONENTS].catalog.unavailable_reason is None)
    assert mlflow.calls[calls:]


async def test_a_start_while_mlflow_is_unavailable(mlflow: FaultyProxy, tmp_path: Path) -> None:
    """The gateway is not ready and serves no model, not even cached ones; later it serves them by itself."""
    async with gateway_at(mlflow.url, tmp_path) as gateway:
        assert (await invoke(gateway, CACHED))[0] == 200
    mlflow.fault = "away"
    async with gateway_at(mlflow.url, tmp_path) as gateway:
        await predict_unavailable(gateway, CACHED)
        status, body = await get(gateway, "/health/ready")
        assert (status, body["mlflow"]["reached"]) == (503, False)
        mlflow.fault = ""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await get(gateway, "/health/ready"))[0] != 200:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.05)
        downloads = [path for path in mlflow.calls if "mlflow-artifacts" in path]
        assert (await invoke(gateway, CACHED))[0] == 200
        assert [path for path in mlflow.calls if "mlflow-artifacts" in path] == downloads
