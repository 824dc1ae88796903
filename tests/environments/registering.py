"""Registers saved models on an MLflow server; a program, so that no test imports MLflow.

    python -m tests.environments.registering NAME=FOLDER…

prints the versions' numbers by name. It uses today's client: the folders are as their own MLflow saved them.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import mlflow
from mlflow.exceptions import MlflowException

if TYPE_CHECKING:
    from mlflow import MlflowClient


def main() -> None:
    """Register every model that is named."""
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("environments")
    number = experiment.experiment_id if experiment else client.create_experiment("environments")
    pairs = [argument.partition("=") for argument in sys.argv[1:]]
    versions = {name: register(client, number, name, folder) for name, _, folder in pairs}
    print(json.dumps(versions))  # noqa: T201 - the tests read it


def register(client: MlflowClient, experiment: str, name: str, folder: str) -> str:
    """Put a saved model into a run's artifacts, and make it a version of the model `name`."""
    run = client.create_run(experiment).info
    client.log_artifacts(run.run_id, folder, "model")
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return str(client.create_model_version(name, f"{run.artifact_uri}/model", run.run_id).version)


if __name__ == "__main__":
    main()
