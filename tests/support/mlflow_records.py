"""Models and experiments without files, created in an MLflow server by its REST API for one test alone.

Their names are unique, because tests in other processes use the same server.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.mlflow_server import MlflowServer

_HISTORY = json.dumps([{"artifact_path": "model", "utc_time_created": "2024-01-01 00:00:00.000000"}])


def create_model(server: MlflowServer, *, versions: int = 1) -> str:
    """Create a registered model with that many READY versions; return its name."""
    name = unique_name("model")
    server.call("registered-models/create", {"name": name})
    run = create_run(server, "0")
    for _ in range(versions):
        create_version(server, name, run)
    return name


def create_version(server: MlflowServer, name: str, run: dict[str, Any]) -> None:
    """Create a version of the registered model `name` with the files of the run."""
    body = {"name": name, "source": f"{run['artifact_uri']}/model", "run_id": run["run_id"]}
    server.call("model-versions/create", body)


def create_experiment(server: MlflowServer, *, runs: int) -> tuple[str, list[str]]:
    """Create an experiment with that many finished runs that have a model; return its name and their ids."""
    name = unique_name("experiment")
    experiment_id = server.call("experiments/create", {"name": name})["experiment_id"]
    return name, [create_run(server, experiment_id, start=number)["run_id"] for number in range(1, runs + 1)]


def create_run(server: MlflowServer, experiment_id: str, *, start: int = 1) -> dict[str, Any]:
    """Create a finished run that has a model; return MLflow's record of it."""
    body = {"experiment_id": experiment_id, "start_time": 1_700_000_000_000 + start}
    info: dict[str, Any] = server.call("runs/create", body)["run"]["info"]
    tag = {"run_id": info["run_id"], "key": "mlflow.log-model.history", "value": _HISTORY}
    server.call("runs/set-tag", tag)
    server.call("runs/update", {"run_id": info["run_id"], "status": "FINISHED"})
    return info


def unique_name(kind: str) -> str:
    """Return a name that no other test uses."""
    return f"{kind}-{uuid.uuid4().hex[:12]}"
