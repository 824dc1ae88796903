"""Proves that what happens to models, workers and MLflow is in the ring of events, by causing it."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from gateway.api.keys import COMPONENTS
from tests.support.faulty_proxy import faulty_proxy
from tests.support.gateways import NO_WALL, Gateway, gateway_at, invoke
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.telemetry.events import Event
    from tests.support.mlflow_server import MlflowServer

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("registered")]

COMMANDS = "/model/api-commands/1/invocation"


def events(gateway: Gateway, kind: str, model: str = "") -> list[Event]:
    """Return the events of a kind and model."""
    assert gateway.app is not None
    found = gateway.app[COMPONENTS].events.since().events
    return [event for event in found if (event.kind, event.model) == (kind, model)]


@pytest.fixture(autouse=True)
def log_level(caplog: pytest.LogCaptureFixture) -> None:
    """Log from `info` on, as the gateway does."""
    for name in ("gateway", "workers"):
        caplog.set_level(logging.INFO, name)


async def command(gateway: Gateway, text: str) -> int:
    status, _ = await invoke(gateway, COMMANDS, json.dumps({"inputs": [{"do": text}]}).encode())
    return status


async def test_models_come_and_go(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """Loads, failed loads with their reason, evictions and unloads are events with a model and version."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_MAX_LOADED_MODELS="1") as gateway:
        headers = {"X-Request-Id": "cause-of-load"}
        body = b'{"inputs": [{"a": 1.0, "b": 2.0}]}'
        path = "/model/api-sums/1/invocation"
        async with gateway.post(
            path, data=body, headers={**headers, "Content-Type": "application/json"}
        ) as r:
            assert r.status == 200, await r.text()
        assert (await invoke(gateway, "/model/api-tens/1/invocation"))[0] == 200
        assert (await invoke(gateway, "/model/api-broken/1/invocation"))[0] == 424
        (loaded,) = events(gateway, "loaded", "api-sums")
        assert (loaded.version, loaded.level, loaded.process) == ("1", "info", 1)
        assert loaded.request_id == "cause-of-load"
        (evicted,) = events(gateway, "evicted", "api-sums")
        assert evicted.text == "Unloaded: another model needed its slot."
        (failed,) = events(gateway, "load_failed", "api-broken")
        assert failed.level == "error"
        assert failed.text.startswith("Could not be loaded: ")
        assert "/" not in failed.text
        assert "Traceback" not in failed.text
        assert (await invoke(gateway, "/model/api-tens/1/invocation"))[0] == 200
        async with gateway.post("/v2/repository/models/api-tens/unload") as answer:
            assert answer.status == 200
        (unloaded,) = events(gateway, "unloaded", "api-tens")
        assert unloaded.text == "Unloaded: a client asked for it."


async def test_workers_end(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """A worker that dies is an event, and one that hangs another."""
    async with gateway_at(
        mlflow_server.url, tmp_path, GATEWAY_REQUEST_TIMEOUT_SECONDS="2", **NO_WALL
    ) as gateway:
        assert await command(gateway, "x") == 200
        assert await command(gateway, "die") == 500
        (died,) = events(gateway, "worker_died", "api-commands")
        assert (died.version, died.level) == ("1", "error")
        assert await command(gateway, "sleep 60") == 504
        await until(lambda: bool(events(gateway, "worker_hung", "api-commands")))


async def test_mlflow_goes_away_and_comes_back(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """Both are events; so is a download that fails, with a reason that has no address."""
    async with (
        faulty_proxy(mlflow_server.url) as proxy,
        gateway_at(proxy.url, tmp_path, GATEWAY_CATALOG_TTL_SECONDS="600") as gateway,
    ):
        async with gateway.get("/v2/models/api-sums/versions/1/ready") as answer:
            assert answer.status == 200
        proxy.fault = "away"
        assert (await invoke(gateway, "/model/api-sums/1/invocation"))[0] in {502, 503}
        assert len(events(gateway, "mlflow_away")) == 1
        (failed,) = events(gateway, "download_failed", "api-sums")
        assert failed.text.startswith("Its files could not be downloaded: ")
        assert "http" not in failed.text
        proxy.fault = ""
        await until(lambda: len(events(gateway, "mlflow_back")) == 1)
