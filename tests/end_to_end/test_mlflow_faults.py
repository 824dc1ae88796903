"""A whole gateway while its MLflow server is away, hangs, or answers what it should not; and afterwards."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest

from gateway.api.keys import COMPONENTS
from gateway.catalog.catalog import STALE_HITS
from tests.support import waiting
from tests.support.callers import CALLERS, calling
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.figures import note
from tests.support.gateways import Gateway, gateway_at, invoke

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.faulty_proxy import Fault
    from tests.support.mlflow_server import MlflowServer

FAULTS: tuple[Fault, ...] = ("away", "slow", "wrong", "html", "500", "half", "cut")
WARM = {
    "/model/api-tens/latest/invocation": [30.0, 70.0],
    "/model/api-sums/@champion/invocation": [6.0, 14.0],
}
CACHED = "/model/api-sums/1/invocation"
UNKNOWN = "/model/api-sums/3/invocation"
BOUND_SECONDS = 20
"""What any refusal may take: the limit of a call here is 3 s, and the machine may be slow."""


@pytest.fixture
async def mlflow(mlflow_server: MlflowServer, registered: list[str]) -> AsyncIterator[FaultyProxy]:
    """A proxy that misbehaves when told to, before a real server."""
    async with faulty_proxy(mlflow_server.url) as proxy:
        yield proxy


@pytest.fixture
async def served(mlflow: FaultyProxy, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway with two warm models, and a third that is in the cache alone."""
    values = {"GATEWAY_CATALOG_TTL_SECONDS": "0.4", "MLFLOW_HTTP_REQUEST_TIMEOUT": "3"}
    async with gateway_at(mlflow.url, tmp_path, **values) as gateway:
        for path in (*WARM, CACHED):
            assert (await invoke(gateway, path))[0] == 200
        await cool(gateway, "api-sums", version="1")
        yield gateway


async def cool(gateway: Gateway, name: str, *, version: str) -> None:
    """Unload a version: its files stay in the cache."""
    pool = gateway.app[COMPONENTS].pool
    await pool.unload(*(key for key in pool.statuses() if (key.name, key.version) == (name, version)))


async def get(gateway: Gateway, path: str) -> tuple[int, Any]:
    """Status and JSON of a GET."""
    async with gateway.get(path) as answer:
        return answer.status, await answer.json()


async def until(holds: Callable[[Any], bool], gateway: Gateway) -> Any:
    """The body of /health/ready as soon as that holds of it; ready it must be all the time."""
    async with asyncio.timeout(60):
        while True:
            status, body = await get(gateway, "/health/ready")
            assert status == 200
            if holds(body["mlflow"]):
                return body
            await asyncio.sleep(0.05)


async def refused(gateway: Gateway, path: str) -> float:
    """How long the refusal of a prediction took: 503, when to ask again, and that it is for MLflow."""
    began = perf_counter()
    async with gateway.post(path, json={"inputs": {"a": [1.0], "b": [2.0]}}) as answer:
        told = await answer.json()
        assert (answer.status, told["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE"), told
        assert answer.headers["Retry-After"]
        assert "MLflow" in told["message"]
    took = perf_counter() - began
    assert took < BOUND_SECONDS
    return took


@pytest.mark.parametrize("fault", FAULTS)
async def test_known_models_answer_on(mlflow: FaultyProxy, served: Gateway, fault: Fault) -> None:
    """Warm and cached ones without one failed request, others 503; and all is well by itself afterwards."""
    async with calling(served, WARM) as callers:
        mlflow.fault = fault
        await until(lambda mlflow: mlflow["away"] is not None and mlflow["since"] is not None, served)
        status, answer = await invoke(served, CACHED)
        assert (status, answer["predictions"]) == (200, [3.0, 7.0])
        refusal = max([await refused(served, UNKNOWN) for _ in range(3)])
        for path in ("/model/", "/model/api-tens", "/model/api-tens/1"):
            status, told = await get(served, path)
            assert (status, "MLflow" in told["message"]) == (503, True), path
        during = callers.right
        mlflow.fault = ""
        ended = perf_counter()
        await until(lambda mlflow: mlflow["away"] is None and mlflow["since"] is None, served)
        reached = perf_counter() - ended
        status, answer = await invoke(served, UNKNOWN)
        assert (status, answer["predictions"]) == (200, [9.0, 21.0])
        answered = perf_counter() - ended
    note(f"MLflow {fault}", refusal=refusal, reached=reached, answered=answered, right=callers.right)
    assert callers.wrong == {}
    assert callers.right > during > CALLERS
    assert served.app[COMPONENTS].counters.value(STALE_HITS) > 0


async def test_a_herd_of_unknown_refs_meets_a_hanging_server(mlflow: FaultyProxy, served: Gateway) -> None:
    """Refused within the limit of one call, over a few connections; who comes later, at once."""
    async with calling(served, WARM) as callers:
        mlflow.fault = "slow"
        herd = [refused(served, f"/model/nobody-{number}/1/invocation") for number in range(100)]
        slowest = max(await asyncio.gather(*herd))
        assert mlflow.most_waiting <= 32
        later = await asyncio.gather(
            *(refused(served, f"/model/late-{number}/1/invocation") for number in range(20))
        )
        note("MLflow slow, a herd", slowest=slowest, later=sorted(later)[10])
        assert sorted(later)[10] < 2
        assert mlflow.waiting <= 2
        mlflow.fault = ""
    assert callers.wrong == {}


async def test_recovery_needs_no_request(mlflow: FaultyProxy, served: Gateway) -> None:
    """Nobody asks while MLflow comes back: that it is back is found out all the same."""
    mlflow.fault = "away"
    await refused(served, UNKNOWN)
    mlflow.fault = ""
    calls = len(mlflow.calls)
    await waiting.until(lambda: served.app[COMPONENTS].catalog.unavailable_reason is None, within=60)
    assert mlflow.calls[calls:]


async def test_a_start_while_mlflow_is_away(mlflow: FaultyProxy, tmp_path: Path) -> None:
    """Nothing is known, though the files are here: 503 and not ready; ready by itself later."""
    async with gateway_at(mlflow.url, tmp_path) as gateway:
        assert (await invoke(gateway, CACHED))[0] == 200
    mlflow.fault = "away"
    async with gateway_at(mlflow.url, tmp_path) as gateway:
        await refused(gateway, CACHED)
        status, body = await get(gateway, "/health/ready")
        assert (status, body["mlflow"]["reached"]) == (503, False)
        mlflow.fault = ""
        async with asyncio.timeout(60):
            while True:
                if (await get(gateway, "/health/ready"))[0] == 200:
                    break
                await asyncio.sleep(0.05)
        calls = len([path for path in mlflow.calls if "mlflow-artifacts" in path])
        assert (await invoke(gateway, CACHED))[0] == 200
        assert len([path for path in mlflow.calls if "mlflow-artifacts" in path]) == calls
