"""Proves which versions with files in a real S3 store are served if each must have its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support import model_shelf
from tests.support.gateways import gateway_at, invoke
from tests.support.mlflow_records import create_empty_experiment, create_logged_model, create_run
from tests.support.mlflow_server import MlflowServer, mlflow_server
from tests.support.s3_server import s3_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.s3_server import S3Server

__all__ = ["s3_server"]


@pytest.fixture(scope="module")
def with_s3(
    clean_environment: None, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MlflowServer]:
    """An MLflow server whose experiments are in S3, which it leaves to its clients."""
    options = ["--default-artifact-root", f"s3://{s3_server.bucket}/root"]
    with mlflow_server(tmp_path_factory.mktemp("with-s3"), options=options, served=False) as server:
        yield server


def register(server: MlflowServer, name: str, source: str, **ids: Any) -> None:
    """Register a version, as MLflow's client does."""
    server.call("registered-models/create", {"name": name})
    server.call("model-versions/create", {"name": name, "source": source, **ids})


@pytest.mark.slow
async def test_versions_in_s3(
    mlflow_server: MlflowServer,
    registered: list[str],
    with_s3: MlflowServer,
    s3_server: S3Server,
    tmp_path: Path,
) -> None:
    """All that name the run or the model; by default also those with files of others, or of no run."""
    name, experiment_id = create_empty_experiment(with_s3)
    run_id = create_run(with_s3, experiment_id)["run_id"]
    model = create_logged_model(with_s3, experiment_id, run_id=run_id)
    place, model_id = model["artifact_uri"], model["model_id"]
    for folder in (place.removeprefix(f"s3://{s3_server.bucket}/"), "exported", "root-2/model"):
        await model_shelf.upload(mlflow_server, s3_server, folder)
    register(with_s3, "by-id", f"models:/{model_id}", model_id=model_id)
    register(with_s3, "copied", "models:/by-id/1")
    register(with_s3, "by-run", f"runs:/{run_id}/model", run_id=run_id)
    register(with_s3, "by-place", place, run_id=run_id)
    register(with_s3, "thief", place)
    register(with_s3, "exported", f"s3://{s3_server.bucket}/exported", run_id=run_id)
    register(with_s3, "beside", f"s3://{s3_server.bucket}/root-2/model")
    own, others = (name, "by-id", "copied", "by-run", "by-place"), ("thief", "exported", "beside")
    for mode in ("warn", "own"):
        values = {**s3_server.environment, "GATEWAY_SOURCE_CHECK": mode}
        async with gateway_at(with_s3.url, tmp_path / "cache", **values) as gateway:
            for served in own if mode == "own" else own + others:
                status, answer = await invoke(gateway, model_shelf.path_of(served))
                assert (status, answer.get("predictions")) == (200, model_shelf.RIGHT), (mode, served)
            for refused in others if mode == "own" else ():
                status, answer = await invoke(gateway, model_shelf.path_of(refused))
                assert (status, answer["error_code"]) == (424, "PERMISSION_DENIED"), refused
                assert "s3://" not in answer["message"]
