"""Proves that one caller's loads neither take all model slots nor make another caller wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.gateway.serving.test_service import registered_again
from tests.support.gateways import BODY, Gateway, gateway_for, pool_of
from tests.support.principals import principal
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

CALLERS = {name: principal(name) for name in "ab"}


def loaded(gateway: Gateway) -> set[str]:
    return {f"{key.name}/{key.version}" for key in pool_of(gateway.app)._slots.loaded}


def loading(gateway: Gateway) -> set[str]:
    return {key.name for key in pool_of(gateway.app)._slots.loading}


async def use(gateway: Gateway, model: str, caller: str) -> int:
    """Return the status of a prediction for a caller."""
    headers = {"Content-Type": "application/json", "X-Caller": caller}
    async with gateway.post(f"/model/{model}/invocation", data=BODY, headers=headers) as response:
        await response.read()
        return response.status


async def test_a_caller_of_many_models_leaves_anothers_loaded(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """It takes turns with itself, in its half of the slots; the other one's model is never loaded again."""
    values = {"GATEWAY_MAX_LOADED_MODELS": "2"}
    async with gateway_for(CALLERS, mlflow_server.url, tmp_path, **values) as gateway:
        assert await use(gateway, "api-tens/1", "b") == 200
        for number in (1, 2, 3, 1):
            assert await use(gateway, f"api-sums/{number}", "a") == 200
            assert loaded(gateway) == {"api-tens/1", f"api-sums/{number}"}


async def test_the_new_version_of_an_alias_is_nobodys(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """No caller chose to load it, so it counts for none, also if a request noticed that there is one."""
    server, name = mlflow_server, registered_again(mlflow_server, "api-sums")
    tens = server.call("model-versions/get?name=api-tens&version=1", {}, method="GET")
    uri = tens["model_version"]["source"]
    version = {"name": name, "source": uri, "model_id": uri.removeprefix("models:/")}
    server.call("model-versions/create", version)
    alias = {"name": name, "alias": "fair"}
    server.call("registered-models/alias", {**alias, "version": "1"})
    values = {"GATEWAY_CATALOG_TTL_SECONDS": "0"}
    async with gateway_for(CALLERS, server.url, tmp_path, **values) as gateway:
        assert await use(gateway, f"{name}/@fair", "a") == 200
        server.call("registered-models/alias", {**alias, "version": "2"})
        async with asyncio.timeout(60):
            while f"{name}/2" not in loaded(gateway):
                assert await use(gateway, f"{name}/@fair", "a") == 200
        slots = pool_of(gateway.app)._slots
        assert {key.version: slots.owner(key) for key in slots.loaded} == {"1": "keys:a", "2": None}


@pytest.mark.slow
async def test_a_callers_third_load_waits_and_no_one_elses(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """It begins when one of two ends, also if their requests were given up; others load at once."""
    async with gateway_for(CALLERS, mlflow_server.url, tmp_path) as gateway:
        slow = [asyncio.create_task(use(gateway, model, "a")) for model in ("api-slow/1", "api-slowest/1")]
        await until(lambda: loading(gateway) == {"api-slow", "api-slowest"})
        for task in slow:
            task.cancel()
        third = asyncio.create_task(use(gateway, "api-sums/1", "a"))
        assert await use(gateway, "api-tens/1", "b") == 200
        assert await third == 200
        assert "api-slow/1" in loaded(gateway)
        assert loading(gateway) == {"api-slowest"}


@pytest.mark.slow
async def test_one_whose_model_waits_for_anothers_loads_has_it_at_once(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """The load that waits for the turn of one caller is begun by the other, and answers both."""
    async with gateway_for(CALLERS, mlflow_server.url, tmp_path) as gateway:
        slow = [asyncio.create_task(use(gateway, model, "a")) for model in ("api-slow/1", "api-slowest/1")]
        await until(lambda: loading(gateway) == {"api-slow", "api-slowest"})
        waiting = asyncio.create_task(use(gateway, "api-tens/1", "a"))
        assert await use(gateway, "api-tens/1", "b") == 200
        assert await waiting == 200
        for task in slow:
            task.cancel()
