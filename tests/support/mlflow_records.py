"""Models and experiments without files, created in an MLflow server by its REST API for one test alone.

Their names are unique, because tests in other processes use the same server.
"""

from __future__ import annotations

import json
import math
import urllib.request
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

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


def create_run(
    server: MlflowServer, experiment_id: str, *, start: int = 1, **metrics: float
) -> dict[str, Any]:
    """Create a finished run that has a model; return MLflow's record of it."""
    body = {"experiment_id": experiment_id, "start_time": 1_700_000_000_000 + start}
    info: dict[str, Any] = server.call("runs/create", body)["run"]["info"]
    tag = {"run_id": info["run_id"], "key": "mlflow.log-model.history", "value": _HISTORY}
    server.call("runs/set-tag", tag)
    for key, value in metrics.items():
        log_metric(server, info["run_id"], key, value)
    server.call("runs/update", {"run_id": info["run_id"], "status": "FINISHED"})
    return info


def create_empty_experiment(server: MlflowServer) -> tuple[str, str]:
    """Create an experiment without runs; return its name and id."""
    name = unique_name("experiment")
    return name, str(server.call("experiments/create", {"name": name})["experiment_id"])


def create_plain_run(
    server: MlflowServer, experiment_id: str, *, start: int = 1, status: str = "FINISHED", **metrics: float
) -> dict[str, Any]:
    """Create a run without a model; return MLflow's record of it."""
    body = {"experiment_id": experiment_id, "start_time": 1_700_000_000_000 + start}
    info: dict[str, Any] = server.call("runs/create", body)["run"]["info"]
    for key, value in metrics.items():
        log_metric(server, info["run_id"], key, value)
    if status != "RUNNING":
        server.call("runs/update", {"run_id": info["run_id"], "status": status})
    return info


def log_metric(
    server: MlflowServer,
    run_id: str,
    key: str,
    value: float,
    *,
    at: int = 1,
    step: int = 0,
    model_id: str | None = None,
) -> None:
    """Log a metric to a run, and to a logged model if `model_id` is one; `at` is its time in milliseconds."""
    text = str(value) if math.isnan(value) or math.isinf(value) else value
    text = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(str(text), text)
    body = {"run_id": run_id, "key": key, "value": text, "timestamp": at, "step": step}
    server.call("runs/log-metric", body | ({"model_id": model_id} if model_id else {}))


def create_logged_model(
    server: MlflowServer,
    experiment_id: str,
    *,
    run_id: str = "",
    status: str = "READY",
    name: str = "model",
    **tags: str,
) -> dict[str, Any]:
    """Create a logged model of MLflow 3, without files; return MLflow's record of it."""
    body: dict[str, Any] = {"experiment_id": experiment_id, "name": name, "source_run_id": run_id}
    body["tags"] = [{"key": key.replace("__", "."), "value": value} for key, value in tags.items()]
    info: dict[str, Any] = server.call("logged-models", body)["model"]["info"]
    model_id = info["model_id"]
    if run_id:
        server.call("runs/outputs", {"run_id": run_id, "models": [{"model_id": model_id, "step": 0}]})
    if status != "PENDING":
        final = {"READY": "LOGGED_MODEL_READY", "FAILED": "LOGGED_MODEL_UPLOAD_FAILED"}[status]
        server.call(f"logged-models/{model_id}", {"model_id": model_id, "status": final}, method="PATCH")
    return info


def create_model_version(server: MlflowServer, name: str, model: dict[str, Any]) -> str:
    """Create a version of the registered model `name` with the files of a logged model; return its number."""
    body = {"name": name, "source": f"models:/{model['model_id']}", "model_id": model["model_id"]}
    body |= {"run_id": model["source_run_id"]} if model.get("source_run_id") else {}
    return str(server.call("model-versions/create", body)["model_version"]["version"])


def put_artifact(server: MlflowServer, uri: str, text: str = "flavors: {}") -> None:
    """Write a file into the artifact store that the server serves."""
    path = quote(uri.removeprefix("mlflow-artifacts:/"))
    request = urllib.request.Request(  # noqa: S310 - the address of a server of the tests
        f"{server.url}/api/2.0/mlflow-artifacts/artifacts/{path}", data=text.encode(), method="PUT"
    )
    with urllib.request.urlopen(request, timeout=30):  # noqa: S310 - as above
        pass


def unique_name(kind: str) -> str:
    """Return a name that no other test uses."""
    return f"{kind}-{uuid.uuid4().hex[:12]}"
