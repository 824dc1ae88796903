"""Log models that no registry knows, by the means that MLflow's client has. A script; it prints their ids.

no-registry  an experiment: one run with a model that `log_artifacts` saved (a + b, times 7), and one
                  model logged without a run (a + b, times 8)
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import mlflow

from tests.support import models

EXPERIMENT = "no-registry"


def main() -> None:
    """Log the models."""
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run() as run, tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "files"
        mlflow.pyfunc.save_model(
            files, python_model=models.Sums(7.0), signature=models.NUMBERS, pip_requirements=["mlflow"]
        )
        mlflow.log_artifacts(str(files), "model")
        mlflow.log_metric("rmse", 0.5)
    outside = mlflow.pyfunc.log_model(
        name="outside",
        python_model=models.Sums(8.0),
        signature=models.NUMBERS,
        pip_requirements=["mlflow"],
    )
    print(json.dumps({"run": run.info.run_id, "model": outside.model_id}))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main()
