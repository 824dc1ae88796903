"""Run the demo: MLflow server, training, gateway, and the calls to try."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from gateway import settings
from gateway.cli.demo import programs, server
from gateway.cli.demo.callers import check_callers
from gateway.cli.demo.errors import DemoError
from gateway.cli.demo.folder import DemoFolder
from gateway.cli.demo.nodes import run_nodes
from gateway.cli.demo.ready import ready_text
from gateway.server import supervisor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import FrameType

    from gateway.cli.demo.nodes import DemoNodes
    from gateway.cli.demo.server import MlflowServer
    from gateway.settings import Settings

DEFAULT_PORT = 8080


class ProgressSteps:
    """A progress report for the terminal: one line a step, with the seconds since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def report(self, text: str) -> None:
        """Print one step."""
        sys.stdout.write(f"[{time.monotonic() - self._started:5.1f} s] {text}\n")
        sys.stdout.flush()


def run_demo(
    path: Path, values: Mapping[str, str], *, mlflow_port: int | None = None, node_count: int = 0
) -> int:
    """Run the demo with its data at `path` and the user's settings `values` until a signal ends it.

    With `node_count`, that many nodes on this machine run the models, not the gateway. The MLflow server
    listens on `mlflow_port` (0: any free port), or by default on 5000 if that is free.
    """
    folder, steps = DemoFolder(path.resolve()), ProgressSteps()
    signal.signal(signal.SIGTERM, _exit)
    # Report problems at once.
    check_callers(settings.load(_demo_settings(values, url="http://127.0.0.1", folder=folder)))
    port = mlflow_port or server.free_port(server.DEFAULT_PORT if mlflow_port is None else 0)
    try:
        with folder.lock(), server.run_mlflow_server(_prepare(folder), values, port=port) as mlflow:
            _train_if_needed(folder, mlflow, values=values, steps=steps)
            if node_count:
                steps.report(f"starting {node_count} nodes")
            with run_nodes(node_count, folder.path, values, mlflow_url=mlflow.url) as nodes:
                return _serve(values, folder, mlflow, nodes=nodes, steps=steps)
    except KeyboardInterrupt:
        return 130


def _serve(
    values: Mapping[str, str],
    folder: DemoFolder,
    mlflow: MlflowServer,
    *,
    nodes: DemoNodes,
    steps: ProgressSteps,
) -> int:
    """Run the gateway until a signal ends it, and return its status."""
    steps.report("starting the gateway")
    own = _demo_settings(values, url=mlflow.url, folder=folder)
    if nodes.ports:
        own = {name: value for name, value in own.items() if not name.startswith("GATEWAY_FLEET_")}
        own |= nodes.gateway_settings()
    chosen = settings.load(own)
    return supervisor.run(
        chosen,
        announce=lambda base: _print_ready(base, mlflow.url, nodes, chosen=chosen, steps=steps),
    )


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    """Leave through all contexts, so that the MLflow server and the training end too."""
    raise SystemExit(128 + number)


def _prepare(folder: DemoFolder) -> Path:
    if not folder.trained:
        folder.clear()
    return folder.path


def _train_if_needed(
    folder: DemoFolder, mlflow: MlflowServer, *, values: Mapping[str, str], steps: ProgressSteps
) -> None:
    """Return when the server responds and has the example models."""
    if folder.trained:
        steps.report(f"starting MLflow at {mlflow.url} on {folder.path}")
        mlflow.wait_until_up()
        return
    steps.report(f"starting MLflow at {mlflow.url}, to train three example models in {folder.path}")
    log = folder.path / "training.log"
    with (
        log.open("wb") as errors,
        programs.run_guarded(
            "gateway.cli.demo.training", mlflow.url, environ=values, output=subprocess.PIPE, errors=errors
        ) as training,
    ):
        mlflow.wait_until_up()
        for line in training.stdout or ():
            steps.report(line.decode(errors="replace").rstrip())
        status = training.wait()
    if status:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise DemoError("\n".join(["Training the example models failed.", *last, f"The whole log: {log}"]))
    folder.mark_trained()


def _demo_settings(values: Mapping[str, str], *, url: str, folder: DemoFolder) -> dict[str, str]:
    """Return the user's settings without those that would lead to another MLflow server."""
    own = {name: value for name, value in values.items() if not name.startswith("MLFLOW_")}
    own.setdefault("GATEWAY_CACHE_DIR", str(folder.path / "cache"))
    own.setdefault("GATEWAY_GRACE_SECONDS", "0")  # no load balancer is in front
    if "GATEWAY_PORT" not in own.keys() - settings.find_service_links(own):
        own["GATEWAY_PORT"] = str(DEFAULT_PORT if server.is_free(DEFAULT_PORT) else 0)
    return {**own, "MLFLOW_TRACKING_URI": url}


def _print_ready(
    base: str, mlflow_url: str, nodes: DemoNodes, *, chosen: Settings, steps: ProgressSteps
) -> None:
    # An address of all interfaces is none to connect to, except on some systems.
    base = base.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//localhost:")
    steps.report(f"ready: the gateway at {base}, MLflow at {mlflow_url}")
    sys.stdout.write(ready_text(base, chosen, node_pids=nodes.pids()))
    sys.stdout.flush()
