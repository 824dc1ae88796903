"""Fills an MLflow server for the catalog's tests, by MLflow's own client of either major version.

Run as a script with MLFLOW_TRACKING_URI set; prints what it made as JSON on its last line.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import mlflow
from mlflow import MlflowClient

NEW = int(mlflow.__version__.split(".")[0]) >= 3
Ids = dict[str, Any]


class Constant(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]  # mlflow's class is untyped
    """Predicts its own number for each row."""

    def __init__(self, number: int) -> None:
        self.number = number

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # mlflow reads type hints as a signature
        """As many numbers as there are rows."""
        return [self.number] * len(model_input)


def log(number: int, *, name: str = "model", register: str | None = None) -> str:
    """Log one tiny model into the active run; its URI as MLflow's client names it."""
    where = {"name": name} if NEW else {"artifact_path": name}
    info = mlflow.pyfunc.log_model(
        python_model=Constant(number), pip_requirements=["mlflow"], registered_model_name=register, **where
    )
    return str(info.model_uri)


def registered(client: MlflowClient) -> Ids:
    """`wine`: three versions with rmse and r2, an alias, tags; `copied` and `by-run` point to them."""
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
    """`forest`: runs of every kind, 1 to 6."""
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
    gone = client.create_experiment("deleted-experiment")
    client.create_run(gone)
    client.delete_experiment(gone)
    shadowed = client.create_experiment("wine")
    client.create_run(shadowed)
    return {"runs": runs}


def oddities(client: MlflowClient) -> None:
    """A model without versions, a prompt, and names that MLflow's filters trip over."""
    client.create_registered_model("empty")
    register = mlflow.genai.register_prompt if NEW else mlflow.register_prompt
    register("a-prompt", "say {{word}}")
    run = client.create_run("0")
    source = f"{run.info.artifact_uri}/model"
    for name in ("it's 100% a_b", "both ' and \"", "back\\slash", "Äpfel & Birnen"):
        client.create_registered_model(name)
        for _ in range(2):
            client.create_model_version(name, source, run_id=run.info.run_id)


def main() -> None:
    """Make everything."""
    mlflow.set_tracking_uri(sys.argv[1])
    client = MlflowClient()
    made = {"wine": registered(client), "forest": experiment(client)}
    oddities(client)
    print(json.dumps(made))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main()
