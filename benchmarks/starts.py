"""How each kind of server is started with a model, and where and in which form it takes rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from benchmarks.processes import Process, free_port, running

if TYPE_CHECKING:
    from benchmarks.bodies import Form
    from benchmarks.stage import Stage

_LOOPBACK = "127.0.0.1"
_PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers: its address, the one that predicts, the form of rows it takes there."""

    base: str
    url: str
    form: Form
    process: Process


Start = Callable[[Path, "Stage", str, Path, Mapping[str, str]], AbstractContextManager[Running]]
"""From an interpreter, the stage, a model's name, a folder of its own and settings to what runs."""


@contextmanager
def gateway(
    python: Path, stage: Stage, model: str, folder: Path, settings: Mapping[str, str]
) -> Iterator[Running]:
    """Our gateway, as `gateway serve` starts it."""
    base, port = _address()
    extra = {
        "MLFLOW_TRACKING_URI": stage.uri,
        "GATEWAY_PORT": port,
        "GATEWAY_CACHE_DIR": str(folder / "cache"),
    }
    command = [str(python), "-m", "gateway", "serve"]
    with running(
        command, ready=f"{base}/health/ready", folder=folder, extra={**extra, **settings}
    ) as process:
        yield Running(base, f"{base}/model/{model}/1/invocation", "mlflow", process)


@contextmanager
def echo(
    python: Path, stage: Stage, model: str, folder: Path, settings: Mapping[str, str]
) -> Iterator[Running]:
    """aiohttp alone."""
    base, port = _address()
    with running([str(python), str(_PROGRAMS / "echo.py"), port], ready=f"{base}/", folder=folder) as process:
        yield Running(base, f"{base}/", "mlflow", process)


@contextmanager
def mlflow_models_serve(
    python: Path, stage: Stage, model: str, folder: Path, settings: Mapping[str, str]
) -> Iterator[Running]:
    """MLflow's own server with one worker, by default without uvicorn's access log."""
    base, port = _address()
    options = ["--host", _LOOPBACK, "--port", port, "--workers", "1", "--env-manager", "local"]
    command = [str(python), "-m", "mlflow", "models", "serve", "--model-uri", f"models:/{model}/1", *options]
    extra = {
        "MLFLOW_TRACKING_URI": stage.uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "UVICORN_ACCESS_LOG": "false",
        "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}",  # it calls uvicorn
    }
    with running(command, ready=f"{base}/ping", folder=folder, extra=extra) as process:
        yield Running(base, f"{base}/invocations", "mlflow", process)


def mlserver(**batching: float) -> Start:
    """MLServer with its mlflow runtime, and `max_batch_size` and `max_batch_time` where it merges."""

    @contextmanager
    def start(
        python: Path, stage: Stage, model: str, folder: Path, settings: Mapping[str, str]
    ) -> Iterator[Running]:
        base, port = _address()
        _configure(folder, port=int(port), model=model, files=stage.files(model), batching=batching)
        command = [str(python.parent / "mlserver"), "start", str(folder)]
        ready = f"{base}/v2/models/{model}/ready"
        with running(command, ready=ready, folder=folder) as process:
            yield Running(base, f"{base}/v2/models/{model}/infer", "v2", process)

    return start


def litserve(*, batch: int = 1, seconds: float = 0.0) -> Start:
    """LitServe with a small API; `batch` requests at most are merged, `seconds` are waited."""

    @contextmanager
    def start(
        python: Path, stage: Stage, model: str, folder: Path, settings: Mapping[str, str]
    ) -> Iterator[Running]:
        base, port = _address()
        program = [str(python), "-W", "ignore", str(_PROGRAMS / "litserve_server.py")]
        command = [*program, str(stage.files(model)), port, str(batch), str(seconds)]
        with running(command, ready=f"{base}/health", folder=folder) as process:
            yield Running(base, f"{base}/predict", "mlflow", process)

    return start


def _address() -> tuple[str, str]:
    port = free_port()
    return f"http://{_LOOPBACK}:{port}", str(port)


def _configure(folder: Path, *, port: int, model: str, files: Path, batching: Mapping[str, float]) -> None:
    """MLServer's two files: no access log, metrics or compression; the rest as by default."""
    folder.mkdir(parents=True, exist_ok=True)
    server = {
        "debug": False,
        "host": _LOOPBACK,
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_endpoint": None,
        "gzip_enabled": False,
        "parallel_workers": 1,
    }
    served = {
        "name": model,
        "implementation": "mlserver_mlflow.MLflowRuntime",
        "parameters": {"uri": str(files)},
        **batching,
    }
    (folder / "settings.json").write_bytes(orjson.dumps(server))
    (folder / "model-settings.json").write_bytes(orjson.dumps(served))
