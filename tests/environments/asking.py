"""Calls to a gateway that serves the models of other environments."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from tests.environments.made import CACHE, inputs
from tests.support.gateway_process import Process

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

SECONDS = 900.0


def settings(server: MlflowServer, folder: Path) -> dict[str, str]:
    """Return the settings of a gateway that keeps all in `folder` but uv's cache, which tests share."""
    (CACHE / "uv-cache").mkdir(parents=True, exist_ok=True)
    return {
        "MLFLOW_TRACKING_URI": server.url,
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": "0",
        "GATEWAY_CACHE_DIR": str(folder / "cache"),
        "GATEWAY_ENVIRONMENTS": "needed",
        "GATEWAY_ENVIRONMENTS_RUNNING": "8",
        "GATEWAY_ENVIRONMENT_TIMEOUT_SECONDS": str(int(SECONDS)),
        "GATEWAY_LOAD_TIMEOUT_SECONDS": str(int(SECONDS)),
        "GATEWAY_REQUEST_TIMEOUT_SECONDS": str(int(SECONDS)),
        "GATEWAY_LOG_FORMAT": "json",
        "UV_CACHE_DIR": str(CACHE / "uv-cache"),
    }


@contextmanager
def run_gateway(server: MlflowServer, folder: Path, **values: str) -> Iterator[Process]:
    """Run a gateway before the server, with what it keeps in `folder`, until the context ends."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = settings(server, folder) | values
    process = Process(folder, chosen, program="serve", python=sys.executable, preexec=None)
    try:
        assert process.url, process.log()
        yield process
    finally:
        process.end()


def body(columns: Sequence[str] | None = None) -> bytes:
    """Return a request with the rows that the models were asked in their own environments."""
    names, rows = inputs()
    split = {"columns": names if columns is None else columns, "data": rows}
    if columns is not None:
        split["data"] = [row[: len(columns)] for row in rows]
    return orjson.dumps({"dataframe_split": split})


async def ask(url: str, name: str, data: bytes | None = None) -> tuple[int, dict[str, Any]]:
    """Ask version 1 of a model; return the status and the answer."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(SECONDS)) as session,
        session.post(
            f"{url}/model/{name}/1/invocation",
            data=body() if data is None else data,
            headers={"Content-Type": "application/json"},
        ) as answer,
    ):
        return answer.status, orjson.loads(await answer.read())


async def details(url: str, name: str) -> dict[str, Any]:
    """Return how version 1 of a model is served."""
    timeout = aiohttp.ClientTimeout(SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(f"{url}/model/{name}/1") as answer,
    ):
        serving: dict[str, Any] = orjson.loads(await answer.read())["serving"]
        return serving
