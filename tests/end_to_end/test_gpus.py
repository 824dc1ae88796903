"""Proves by HTTP which model gets a GPU, what its details and the metrics say, and how it is refused one.

A program plays `nvidia-smi`, since this machine may have no GPU.
"""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.support.gateways import Gateway, gateway_at, invoke
from tests.support.played_gpus import FIRST, PlayedGpus

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.slow


def register(server: MlflowServer, share: str) -> str:
    """Register the files of another model under a name of its own, with the tag; return the name."""
    name = f"gpu-{uuid.uuid4().hex[:8]}"
    found = server.call("model-versions/get?name=api-tens&version=1", {}, method="GET")["model_version"]
    server.call("registered-models/create", {"name": name})
    tags = [{"key": "gateway.gpu", "value": share}]
    source = found["source"]
    record = {"name": name, "source": source, "model_id": source.removeprefix("models:/"), "tags": tags}
    server.call("model-versions/create", record)
    return name


async def details(gateway: Gateway, name: str) -> dict[str, object]:
    """Return how version 1 of a model is served."""
    async with gateway.get(f"/model/{name}/1") as answer:
        serving: dict[str, object] = (await answer.json())["serving"]
        return serving


async def test_a_model_gets_the_share_that_its_tag_asks_for(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """Details name the device and the share, and so do the metrics; without the tag there is neither."""
    gpus = PlayedGpus(tmp_path / "gpus", FIRST)
    half, rest, whole, wrong = (register(mlflow_server, share) for share in ("0.5", "0.5", "1", "two"))
    values = {"PATH": gpus.path(os.environ["PATH"]), "GATEWAY_REQUEST_TIMEOUT_SECONDS": "30"}
    async with gateway_at(mlflow_server.url, tmp_path / "cache", **values) as gateway:
        for name in (half, rest, "api-tens"):
            status, answer = await invoke(gateway, f"/model/{name}/1/invocation")
            assert (status, answer["predictions"]) == (200, [30.0, 70.0])
        device = {"uuid": FIRST, "share": 0.5, "memory_bytes": None}
        assert (await details(gateway, half))["device"] == device
        assert "device" not in await details(gateway, "api-tens")
        async with gateway.get("/metrics") as page:
            lines = [line for line in (await page.text()).splitlines() if line.startswith("gateway_gpu_")]
        assert f'gateway_gpu_share_taken{{gpu="{FIRST}",process="1"}} 1.0' in lines
        status, _ = await invoke(gateway, f"/model/{whole}/1/invocation")
        assert status == 200  # both others were idle
        assert (await details(gateway, whole))["device"] == {**device, "share": 1.0}
        assert [(await details(gateway, name))["state"] for name in (half, rest)] == ["cold", "cold"]
        status, answer = await invoke(gateway, f"/model/{wrong}/1/invocation")
        assert status == 424
        assert "gateway.gpu must be a share of one GPU" in answer["message"]


@pytest.mark.parametrize("off", [{"GATEWAY_GPUS": "off"}, {"PATH": os.defpath}])
async def test_a_gateway_without_gpus_refuses_the_model(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path, off: dict[str, str]
) -> None:
    """Switched off, or on a machine without any: 424 with the reason."""
    gpus = PlayedGpus(tmp_path / "gpus", FIRST)
    name = register(mlflow_server, "1")
    values = {"PATH": gpus.path(os.environ["PATH"]), "GATEWAY_PRELOAD": "none", **off}
    async with gateway_at(mlflow_server.url, tmp_path / "cache", **values) as gateway:
        status, answer = await invoke(gateway, f"/model/{name}/1/invocation")
        assert status == 424
        assert "wants a GPU" in answer["message"]
        assert gpus.asked() == []
