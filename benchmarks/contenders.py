"""Who is measured: how each is started with the same model, and where it takes the same body."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import free_port, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from benchmarks.stage import Stage

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Running:
    """A contender that answers: the address that predicts, and the seconds its start took."""

    url: str
    start_seconds: float


@dataclass(frozen=True, slots=True)
class Contender:
    """A server to measure."""

    name: str
    start: Callable[[Stage, Path], AbstractContextManager[Running]]


@contextmanager
def _gateway(stage: Stage, folder: Path) -> Iterator[Running]:
    port = free_port()
    environment = {
        "MLFLOW_TRACKING_URI": stage.tracking_uri,
        "GATEWAY_PORT": str(port),
        "GATEWAY_CACHE_DIR": str(folder / "cache"),
    }
    base = f"http://{_LOOPBACK}:{port}"
    command = [sys.executable, "-m", "gateway", "serve"]
    ready = f"{base}/health/ready"
    with running(command, ready=ready, log=folder / "gateway.log", environment=environment) as seconds:
        yield Running(f"{base}/model/{stage.model}/{stage.version}/invocation", seconds)


@contextmanager
def _mlflow_models_serve(stage: Stage, folder: Path) -> Iterator[Running]:
    port = free_port()
    base = f"http://{_LOOPBACK}:{port}"
    model = f"models:/{stage.model}/{stage.version}"
    options = ["--host", _LOOPBACK, "--port", str(port), "--workers", "1", "--env-manager", "local"]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", model, *options]
    environment = {
        "MLFLOW_TRACKING_URI": stage.tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",  # it calls uvicorn
    }
    log = folder / "mlflow-models-serve.log"
    with running(command, ready=f"{base}/ping", log=log, environment=environment) as seconds:
        yield Running(f"{base}/invocations", seconds)


GATEWAY = Contender("gateway", _gateway)
PEERS = (Contender("mlflow models serve", _mlflow_models_serve),)
