"""A script that creates many runs and versions without files in an MLflow server; it prints their number."""

from __future__ import annotations

import json
import sys

from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag

URL, COUNT = sys.argv[1], int(sys.argv[2])


def main() -> None:
    """Create an experiment with one run and one registered version per number."""
    client = MlflowClient(URL)
    experiment_id = client.create_experiment("many")
    client.create_registered_model("many-registered")
    for number in range(1, COUNT + 1):
        run = client.create_run(experiment_id, start_time=1_700_000_000_000 + number)
        history = [{"artifact_path": "model", "utc_time_created": "2024-01-01 00:00:00.000000"}]
        client.log_batch(
            run.info.run_id,
            metrics=[Metric("score", number, 0, 0)],
            tags=[RunTag("mlflow.log-model.history", json.dumps(history))],
        )
        client.set_terminated(run.info.run_id)
        source = f"{run.info.artifact_uri}/model"
        client.create_model_version("many-registered", source, run_id=run.info.run_id)
    print(COUNT)  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main()
