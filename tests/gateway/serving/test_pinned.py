"""Pinned models: warm before ready, kept, and following what their refs come to mean."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.serving.service import PredictionService
from tests.gateway.serving.test_service import registered_again
from tests.support.gateways import Gateway, gateway_at, invoke

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from gateway.domain.models import ModelVersion
    from gateway.serving.service import Timing
    from tests.support.mlflow_server import MlflowServer


async def until(gateway: Gateway, path: str, *, wanted: Any, within: float = 30.0) -> Any:
    """The JSON at `path`, once `wanted` holds for it."""
    async with asyncio.timeout(within):
        while True:
            async with gateway.get(path) as answer:
                told = await answer.json()
            if wanted(told):
                return told
            await asyncio.sleep(0.1)


async def test_pinned_models_stay_while_others_come_and_go(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """With room for two, the pinned one is never the one to go, however long nobody asks for it."""
    async with gateway_at(
        mlflow_server.url,
        tmp_path,
        GATEWAY_PINNED_MODELS="api-sums@champion",
        GATEWAY_MAX_LOADED_MODELS="2",
        GATEWAY_IDLE_SECONDS="0.5",
    ) as gateway:
        await until(gateway, "/health/ready", wanted=lambda told: told["ready"])
        for path in ("/model/api-tens/1/invocation", "/model/api-sums/1/invocation"):
            assert (await invoke(gateway, path))[0] == 200
        await until(gateway, "/model/api-tens/1", wanted=lambda told: told["serving"]["state"] == "cold")
        pinned = await until(gateway, "/model/api-sums/2", wanted=lambda told: True)
        assert (pinned["serving"]["state"], pinned["serving"]["workers"]) == ("warm", 1)


async def test_a_pin_follows_its_alias(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """The alias moves: the version that it means now is warm before anybody asks; the old one may go."""
    name = registered_again(mlflow_server, "api-sums")
    source = mlflow_server.call("model-versions/get?name=api-tens&version=1", {}, method="GET")
    uri = source["model_version"]["source"]
    mlflow_server.call(
        "model-versions/create", {"name": name, "source": uri, "model_id": uri.removeprefix("models:/")}
    )
    mlflow_server.call("registered-models/alias", {"name": name, "alias": "live", "version": "1"})
    async with gateway_at(
        mlflow_server.url,
        tmp_path,
        GATEWAY_PINNED_MODELS=f"{name}@live",
        GATEWAY_CATALOG_TTL_SECONDS="1",
        GATEWAY_MAX_LOADED_MODELS="1",
    ) as gateway:
        await until(gateway, f"/model/{name}/1", wanted=lambda told: told["serving"]["state"] == "warm")
        mlflow_server.call("registered-models/alias", {"name": name, "alias": "live", "version": "2"})
        await until(gateway, f"/model/{name}/2", wanted=lambda told: told["serving"]["state"] == "warm")
        ready = await until(gateway, "/health/ready", wanted=lambda told: told["ready"])
        assert ready["pinned"]["problems"] == {}
        status, answer = await invoke(gateway, f"/model/{name}/@live/invocation")
        assert (status, answer["predictions"]) == (200, [30.0, 70.0])


async def test_a_pin_that_cannot_be_had_is_told(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """Not ready, and why; the other pinned model is warm all the same."""
    async with gateway_at(
        mlflow_server.url, tmp_path, GATEWAY_PINNED_MODELS="api-broken/1, api-tens/1"
    ) as gateway:
        told = await until(
            gateway, "/health/ready", wanted=lambda told: "api-broken/1" in told["pinned"]["problems"]
        )
        assert not told["ready"]
        assert "RuntimeError" in told["pinned"]["problems"]["api-broken/1"]
        await until(gateway, "/model/api-tens/1", wanted=lambda told: told["serving"]["state"] == "warm")


async def test_an_unexpected_error_ends_the_keeping_of_none(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told without its text, tried again, and the other pin never notices."""
    warm = PredictionService.ensure_loaded
    errors = iter([RuntimeError("/secret/path")])

    async def failing(self: PredictionService, version: ModelVersion) -> Timing:
        if version.name == "api-tens" and (error := next(errors, None)) is not None:
            raise error
        return await warm(self, version)

    monkeypatch.setattr(PredictionService, "ensure_loaded", failing)
    async with gateway_at(
        mlflow_server.url, tmp_path, GATEWAY_PINNED_MODELS="api-sums/1, api-tens/1"
    ) as gateway:
        told = await until(
            gateway, "/health/ready", wanted=lambda told: "api-tens/1" in told["pinned"]["problems"]
        )
        assert "/secret" not in told["pinned"]["problems"]["api-tens/1"]
        ready = await until(gateway, "/health/ready", wanted=lambda told: told["ready"])
        assert ready["pinned"]["problems"] == {}
