"""What all contenders serve: one model on a real MLflow server, and the bodies that are sent."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from benchmarks.processes import free_port, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODEL = "wine"
_TRAINING = f"""
import mlflow
from sklearn.datasets import load_wine
from sklearn.linear_model import ElasticNet
features, target = load_wine(return_X_y=True, as_frame=True)
model = ElasticNet(alpha=0.1).fit(features, target)
signature = mlflow.models.infer_signature(features, model.predict(features))
mlflow.set_experiment("benchmark")
with mlflow.start_run():
    mlflow.sklearn.log_model(
        model, name="model", signature=signature, registered_model_name="{MODEL}",
        pip_requirements=["scikit-learn"],
    )
features.head(1).to_json("body.json", orient="split", index=False)
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """A real MLflow server with the model registered, and a body of one row for it."""

    tracking_uri: str
    model: str
    version: str
    body: bytes


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """An MLflow server below `folder`, with a 13-column ElasticNet with signature registered."""
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--serve-artifacts", "--artifacts-destination", str(folder / "artifacts")]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with running(command, ready=f"{uri}/health", log=folder / "mlflow.log", environment=quiet):
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _TRAINING],
            cwd=folder,
            env={**os.environ, **quiet, "MLFLOW_TRACKING_URI": uri},
            check=True,
            capture_output=True,
        )
        split = orjson.loads((folder / "body.json").read_bytes())
        yield Stage(uri, MODEL, "1", orjson.dumps({"dataframe_split": split}))
