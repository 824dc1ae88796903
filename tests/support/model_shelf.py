"""Register models whose files the test copies to the artifact store itself, so that it can damage them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer
    from tests.support.s3_server import S3Server

RIGHT = [30.0, 70.0]
"""The predictions of each of these models for `tests.support.gateways.BODY`."""
_BALLAST = "ballast.bin"


def original(server: MlflowServer) -> Path:
    """Return the folder with the files of the registered model `api-tens`."""
    reply = server.call("model-versions/get?name=api-tens&version=1", {}, method="GET")
    model_id = reply["model_version"]["source"].removeprefix("models:/")
    (folder,) = (server.folder / "artifacts").glob(f"*/models/{model_id}/artifacts")
    return folder


def put(server: MlflowServer, name: str, *, size: int = 0) -> Path:
    """Register a model `name` in the MLflow server's own store, and return the folder of its files.

    One of the files has `size` bytes.
    """
    run = server.call("runs/create", {"experiment_id": "0"})["run"]["info"]
    uri = f"{run['artifact_uri']}/shelf"
    folder = server.folder / "artifacts" / uri.removeprefix("mlflow-artifacts:/")
    shutil.copytree(original(server), folder)
    (folder / _BALLAST).write_bytes(b"\1" * size)
    _register(server, name, uri, run_id=run["run_id"])
    return folder


async def put_in_s3(server: MlflowServer, store: S3Server, name: str) -> None:
    """Register a model `name` whose files are in a folder of that name in the S3 store."""
    await upload(server, store, name)
    _register(server, name, f"s3://{store.bucket}/{name}")


async def upload(server: MlflowServer, store: S3Server, folder: str) -> None:
    """Put the files of `api-tens` into a folder of the S3 store."""
    top = original(server)
    async with store.client() as client:
        for path in [path for path in top.rglob("*") if path.is_file()]:
            key = f"{folder}/{path.relative_to(top).as_posix()}"
            await client.put_object(Bucket=store.bucket, Key=key, Body=path.read_bytes())


def path_of(name: str) -> str:
    """Return the path of predictions of the model `name`."""
    return f"/model/{name}/1/invocation"


def _register(server: MlflowServer, name: str, source: str, *, run_id: str = "") -> None:
    server.call("registered-models/create", {"name": name})
    server.call("model-versions/create", {"name": name, "source": source, "run_id": run_id})
