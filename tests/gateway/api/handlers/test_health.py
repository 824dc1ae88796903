"""Proves the routes for the health and the versions of the gateway itself."""

from __future__ import annotations

import asyncio
import platform
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from gateway.api.keys import COMPONENTS
from tests.support.confined import HERE
from tests.support.gateways import Gateway, gateway_at, invoke
from tests.support.mlflow_server import free_port
from tests.support.relay import relay_to

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def get(gateway: Gateway, path: str) -> tuple[int, Any]:
    async with gateway.get(path) as answer:
        return answer.status, await answer.json()


async def until(gateway: Gateway, holds: Callable[[Any], object]) -> Any:
    """Return the body of /health/ready as soon as the condition holds for it."""
    async with asyncio.timeout(60):
        while True:
            _, body = await get(gateway, "/health/ready")
            if holds(body):
                return body
            await asyncio.sleep(0.05)


async def until_ready(gateway: Gateway) -> Any:
    return await until(gateway, lambda body: body["ready"])


@pytest.mark.parametrize("slash", ["", "/"])
async def test_live(gateway: Gateway, slash: str) -> None:
    """The event loop runs."""
    assert await get(gateway, f"/health/live{slash}") == (200, {"live": True})


@pytest.mark.parametrize("slash", ["", "/"])
async def test_version(gateway: Gateway, slash: str) -> None:
    """The versions of the gateway, Python and MLflow, and of the MLflow server."""
    status, body = await get(gateway, f"/version{slash}")
    assert status == 200
    assert body["python"] == platform.python_version()
    assert body["mlflow_server"] == body["mlflow"]
    assert body["gateway"]
    assert body["wall"] == {
        "mode": "auto",
        "complete": HERE.complete,
        "landlock": HERE.landlock_abi,
        "seccomp": HERE.seccomp,
        "network": "all",
    }


async def test_ready_once_pinned_models_are_warm(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """Before that 503 says what is missing; after it the pinned model answers without a cold start."""
    pinned = "api-sums@champion, api/forest/1"
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_PINNED_MODELS=pinned) as gateway:
        status, body = await get(gateway, "/health/ready")
        assert (status, body["ready"], body["pinned"]["ready"]) == (503, False, False)
        body = await until_ready(gateway)
        assert body == {
            "ready": True,
            "draining": False,
            "mlflow": {"reached": True, "away": None, "since": None},
            "pinned": {"ready": True, "problems": {}},
            "workers": {"can_start": True},
        }
        serving = (await get(gateway, "/model/api-sums/2"))[1]["serving"]
        assert (serving["state"], serving["workers"]) == ("warm", 1)
        gateway.app[COMPONENTS].in_flight.start_draining()
        status, body = await get(gateway, "/health/ready")
        assert (status, body["draining"]) == (503, True)


async def test_a_pinned_model_that_does_not_exist(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """The body names it with the reason, and the gateway is not ready."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_PINNED_MODELS="missing/1") as gateway:
        body = await until(gateway, lambda body: body["pinned"]["problems"])
        assert list(body["pinned"]["problems"]) == ["missing/1"]
        assert not body["ready"]


async def test_mlflow_never_reached(tmp_path: Path) -> None:
    """503 with the reason; a prediction fails with the same; the server's version is unknown."""
    async with gateway_at(f"http://127.0.0.1:{free_port()}", tmp_path) as gateway:
        body = await until(gateway, lambda body: body["mlflow"]["away"])
        assert not body["mlflow"]["reached"]
        async with gateway.post("/model/wine/1/invocation", json={}) as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"]
            assert (await answer.json())["error_code"] == "TEMPORARILY_UNAVAILABLE"
        assert (await get(gateway, "/version"))[1]["mlflow_server"] is None


async def test_mlflow_becomes_unavailable(
    registered: list[str], mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    """The gateway stays ready, the body says why, and a warm model still answers."""
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(relay_to(mlflow_server.url))
        context = gateway_at(relay.url, tmp_path, GATEWAY_CATALOG_TTL_SECONDS="0.1")
        gateway = await stack.enter_async_context(context)
        assert (await invoke(gateway, "/model/api-tens/latest/invocation"))[0] == 200
        await until_ready(gateway)
        await relay.cut()
        await asyncio.sleep(0.2)  # the cached resolution expires
        for _ in range(3):
            status, answer = await invoke(gateway, "/model/api-tens/latest/invocation")
            assert (status, answer["predictions"]) == (200, [30.0, 70.0])
        body = await until(gateway, lambda body: body["mlflow"]["away"])
        assert body["ready"]
        assert body["mlflow"]["reached"]
        assert (await invoke(gateway, "/model/api-tens/latest/invocation"))[0] == 200
