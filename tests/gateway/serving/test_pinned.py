"""Proves that pinned models are loaded before the gateway is ready, stay loaded, and follow their refs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.serving.service import PredictionService
from tests.gateway.serving.test_service import registered_again
from tests.support.gateways import Gateway, gateway_at, invoke

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from gateway.domain.models import ModelVersion
    from gateway.serving.service import Timing
    from tests.support.mlflow_server import MlflowServer


async def get_until(
    gateway: Gateway,
    path: str,
    condition: Callable[[Any], bool] = bool,
    *,
    timeout: float = 60.0,  # noqa: ASYNC109 - of the whole poll
) -> Any:
    """Return the JSON at `path` once `condition` holds for it."""
    async with asyncio.timeout(timeout):
        while True:
            async with gateway.get(path) as response:
                body = await response.json()
            if condition(body):
                return body
            await asyncio.sleep(0.05)


def is_ready(body: Any) -> bool:
    return bool(body["ready"])


def is_loaded(body: Any) -> bool:
    return bool(body["serving"]["state"] == "warm")


async def test_a_pinned_model_is_never_evicted(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """Another model is evicted instead, even if the pinned one has had no request for longer."""
    async with gateway_at(
        mlflow_server.url,
        tmp_path,
        GATEWAY_PINNED_MODELS="api-sums@champion",
        GATEWAY_MAX_LOADED_MODELS="2",
        GATEWAY_IDLE_SECONDS="0.5",
    ) as gateway:
        await get_until(gateway, "/health/ready", is_ready)
        for path in ("/model/api-tens/1/invocation", "/model/api-sums/1/invocation"):
            assert (await invoke(gateway, path))[0] == 200
        await get_until(gateway, "/model/api-tens/1", lambda body: body["serving"]["state"] == "cold")
        pinned = await get_until(gateway, "/model/api-sums/2")
        assert (pinned["serving"]["state"], pinned["serving"]["workers"]) == ("warm", 1)


async def test_a_pin_follows_its_alias(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """When the alias moves, its new version is loaded without a request, and the old one can be evicted."""
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
        await get_until(gateway, f"/model/{name}/1", is_loaded)
        mlflow_server.call("registered-models/alias", {"name": name, "alias": "live", "version": "2"})
        await get_until(gateway, f"/model/{name}/2", is_loaded)
        ready = await get_until(gateway, "/health/ready", is_ready)
        assert ready["pinned"]["problems"] == {}
        status, body = await invoke(gateway, f"/model/{name}/@live/invocation")
        assert (status, body["predictions"]) == (200, [30.0, 70.0])


async def test_a_pinned_model_that_fails_to_load_is_reported(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """The gateway is not ready and says why; the other pinned model is loaded all the same."""
    async with gateway_at(
        mlflow_server.url, tmp_path, GATEWAY_PINNED_MODELS="api-broken/1, api-tens/1"
    ) as gateway:
        health = await get_until(
            gateway, "/health/ready", lambda body: "api-broken/1" in body["pinned"]["problems"]
        )
        assert not health["ready"]
        assert "RuntimeError" in health["pinned"]["problems"]["api-broken/1"]
        await get_until(gateway, "/model/api-tens/1", is_loaded)


async def test_an_unexpected_error_does_not_affect_other_pinned_models(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported without its message, and the load is tried again."""
    ensure_loaded = PredictionService.ensure_loaded
    errors = iter([RuntimeError("/secret/path")])

    async def failing(self: PredictionService, version: ModelVersion) -> Timing:
        if version.name == "api-tens" and (error := next(errors, None)) is not None:
            raise error
        return await ensure_loaded(self, version)

    monkeypatch.setattr(PredictionService, "ensure_loaded", failing)
    async with gateway_at(
        mlflow_server.url, tmp_path, GATEWAY_PINNED_MODELS="api-sums/1, api-tens/1"
    ) as gateway:
        health = await get_until(
            gateway, "/health/ready", lambda body: "api-tens/1" in body["pinned"]["problems"]
        )
        assert "/secret" not in health["pinned"]["problems"]["api-tens/1"]
        ready = await get_until(gateway, "/health/ready", is_ready)
        assert ready["pinned"]["problems"] == {}


async def test_a_pin_of_a_kind_that_is_not_served(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """The gateway is never ready, and says why; clients get the answer for unknown names."""
    async with gateway_at(
        mlflow_server.url,
        tmp_path,
        GATEWAY_SOURCES="experiments",
        GATEWAY_PINNED_MODELS="api-sums/1",
        GATEWAY_PRELOAD="none",
    ) as gateway:
        body = await get_until(gateway, "/health/ready", lambda body: body["pinned"]["problems"])
        assert not body["ready"]
        assert (
            "registered model, which GATEWAY_SOURCES leaves out" in body["pinned"]["problems"]["api-sums/1"]
        )
        for name in ("api-sums", "no-such-model"):
            status, answer = await invoke(gateway, f"/model/{name}/1/invocation")
            assert (status, answer["message"]) == (404, f"There is no model {name!r}.")
