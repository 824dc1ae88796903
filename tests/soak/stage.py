"""Where the soak takes place: a real MLflow server, a faulty proxy before it, the gateway's process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from tests.end_to_end.conftest import Process
from tests.soak.artifacts import parsed
from tests.support.faulty_proxy import faulty_proxy
from tests.support.mlflow_server import environment, mlflow_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.soak.artifacts import Artifact
    from tests.soak.options import Options
    from tests.support.faulty_proxy import FaultyProxy
    from tests.support.mlflow_server import MlflowServer

_ROOT = Path(__file__).parents[2]
_LONGEST_SECONDS = 120.0
_KEPT_SECONDS = 5.0  # shorter than any server keeps a connection, so that none is closed under a request


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs beside the soak's own process."""

    mlflow: MlflowServer
    front: FaultyProxy
    gateway: Process
    session: aiohttp.ClientSession
    cache: Path
    artifacts: list[Artifact]


@asynccontextmanager
async def stage(folder: Path, options: Options) -> AsyncIterator[Stage]:
    """All of it, ended in the reverse order."""
    mlflow_folder, gateway_folder = folder / "mlflow", folder / "gateway"
    mlflow_folder.mkdir()
    gateway_folder.mkdir()
    with mlflow_server(mlflow_folder) as server:
        artifacts = await asyncio.to_thread(logged, server)
        async with faulty_proxy(server.url) as proxy:
            cache = gateway_folder / "cache"
            values = _settings(options) | {
                "MLFLOW_TRACKING_URI": proxy.url,
                "GATEWAY_CACHE_DIR": str(cache),
            }
            gateway = await asyncio.to_thread(_started, gateway_folder, values)
            try:
                async with new_session(gateway.url) as session:
                    yield Stage(server, proxy, gateway, session, cache, artifacts)
            finally:
                gateway.end()


def _started(folder: Path, values: dict[str, str]) -> Process:
    return Process(folder, values, program="serve", python=sys.executable, preexec=None)


def new_session(url: str) -> aiohttp.ClientSession:
    """A client of one gateway, whose connections no server closes under a request."""
    return aiohttp.ClientSession(
        url,
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_SECONDS),
        timeout=aiohttp.ClientTimeout(total=_LONGEST_SECONDS),
    )


def _settings(options: Options) -> dict[str, str]:
    return {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": f"{options.upstream_seconds:g}",
        "GATEWAY_PORT": "0",
        "GATEWAY_MAX_LOADED_MODELS": str(options.max_loaded),
        "GATEWAY_MEMORY_BUDGET_BYTES": str(options.memory_budget),
        "GATEWAY_CATALOG_TTL_SECONDS": f"{options.ttl_seconds:g}",
        "GATEWAY_REQUEST_TIMEOUT_SECONDS": f"{options.request_seconds:g}",
        "GATEWAY_MAX_QUEUE": str(options.max_queue),
        "GATEWAY_MAX_BODY_BYTES": str(options.max_body),
        "GATEWAY_IDLE_SECONDS": f"{options.idle_seconds:g}",
        "GATEWAY_WORKERS_PER_MODEL": "1",
    }


def logged(server: MlflowServer) -> list[Artifact]:
    """Log every model to the server, by a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak.artifacts"],
        env=environment({"MLFLOW_TRACKING_URI": server.url}),
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return parsed(json.loads(done.stdout.splitlines()[-1]))
