"""A script that fills an MLflow server for the catalog's tests, with MLflow's client of version 2 or 3.

Its arguments are the server's URL and, optionally, a number of runs and versions to create beside them. Its
last line of output is JSON with the ids of the created runs.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag

NEW = int(mlflow.__version__.split(".")[0]) >= 3
Ids = dict[str, Any]


class Constant(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]  # mlflow's class is untyped
    """A model that predicts its own number for each row."""

    def __init__(self, number: int) -> None:
        self.number = number

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # mlflow reads type hints as a signature
        """Return the number once per row."""
        return [self.number] * len(model_input)


def log(number: int, *, name: str = "model", register: str | None = None) -> str:
    """Log one tiny model into the active run; return its URI."""
    location = {"name": name} if NEW else {"artifact_path": name}
    info = mlflow.pyfunc.log_model(
        python_model=Constant(number), pip_requirements=["mlflow"], registered_model_name=register, **location
    )
    return str(info.model_uri)


def registered(client: MlflowClient) -> Ids:
    """Create `wine` with three versions, metrics, aliases and tags; `copied` and `by-run` point to them."""
    mlflow.set_experiment("wine-training")
    runs = []
    for number, rmse in enumerate((0.9, 0.5, 0.7), start=1):
        with mlflow.start_run() as run:
            mlflow.log_param("alpha", number / 10)
            mlflow.log_metric("rmse", rmse)
            log(number, register="wine")
            mlflow.log_metric("r2", 1 - rmse)
        runs.append(run.info.run_id)
    client.set_registered_model_alias("wine", "champion", "2")
    client.set_registered_model_alias("wine", "5", "1")
    client.set_model_version_tag("wine", "3", "gateway.batching", "off")
    client.set_registered_model_tag("wine", "team", "cellar")
    client.update_registered_model("wine", "red and white")
    client.copy_model_version("models:/wine/2", "copied")
    client.create_registered_model("by-run")
    client.create_model_version("by-run", f"runs:/{runs[0]}/model", run_id=runs[0])
    with mlflow.start_run() as run:
        mlflow.log_text("flavors: {}", "old/MLmodel")
    client.create_model_version("by-run", f"runs:/{run.info.run_id}/old", run_id=run.info.run_id)
    return {"runs": runs, "old_run": run.info.run_id}


def experiment(client: MlflowClient) -> Ids:
    """Create `forest` with runs 1 to 6 of every kind."""
    mlflow.set_experiment("forest")
    runs = []
    for number in range(1, 7):
        with mlflow.start_run() as run:
            mlflow.log_metric("accuracy", number / 10)
            if number != 2:
                log(number)
            if number == 4:
                log(40, name="second")
        runs.append(run.info.run_id)
    client.delete_run(runs[2])
    client.set_terminated(runs[5], "FAILED")
    mlflow.set_experiment("forest/nested: odd")
    with mlflow.start_run():
        log(7)
    client.create_experiment("without-runs")
    deleted = client.create_experiment("deleted-experiment")
    client.create_run(deleted)
    client.delete_experiment(deleted)
    namesake = client.create_experiment("wine")
    client.create_run(namesake)
    return {"runs": runs}


def oddities(client: MlflowClient) -> None:
    """Create a model without versions, a prompt, and names that MLflow's filters cannot escape."""
    client.create_registered_model("empty")
    register = mlflow.genai.register_prompt if NEW else mlflow.register_prompt
    register("a-prompt", "say {{word}}")
    run = client.create_run("0")
    source = f"{run.info.artifact_uri}/model"
    for name in ("it's 100% a_b", "both ' and \"", "back\\slash", "Äpfel & Birnen"):
        client.create_registered_model(name)
        for _ in range(2):
            client.create_model_version(name, source, run_id=run.info.run_id)


def many(client: MlflowClient, count: int) -> None:
    """Create `many` with `count` runs without files, each with a version of `many-registered`."""
    experiment_id = client.create_experiment("many")
    client.create_registered_model("many-registered")
    history = json.dumps([{"artifact_path": "model", "utc_time_created": "2024-01-01 00:00:00.000000"}])
    for number in range(1, count + 1):
        run = client.create_run(experiment_id, start_time=1_700_000_000_000 + number)
        client.log_batch(
            run.info.run_id,
            metrics=[Metric("score", number, 0, 0)],
            tags=[RunTag("mlflow.log-model.history", history)],
        )
        client.set_terminated(run.info.run_id)
        source = f"{run.info.artifact_uri}/model"
        client.create_model_version("many-registered", source, run_id=run.info.run_id)


def main() -> None:
    """Create everything."""
    mlflow.set_tracking_uri(sys.argv[1])
    client = MlflowClient()
    ids = {"wine": registered(client), "forest": experiment(client)}
    oddities(client)
    if len(sys.argv) > 2:
        many(client, int(sys.argv[2]))
    print(json.dumps(ids))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main()
