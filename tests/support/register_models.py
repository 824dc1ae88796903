"""Register tiny real models on an MLflow server. A script, so that no test process imports MLflow's client.

api-sums       three versions: a + b, times 1, 2, 3; rmse 0.9, 0.5, 0.7; version 2 is @champion
api-tens       one version: a + b, times 10
api-cold-*     one version each: a + b, times 5; used by one test each
api-commands   runs the commands in its input: raise, sleep, die, …
api-streams    the same, and streams what the commands yield
api-chat       a ChatAgent, and api-responses a ResponsesAgent; both return the last message
api-broken     cannot be loaded: its code raises; api-lacking lacks a package
api-slow       takes two seconds to load, api-slowest five minutes
api-reads      reads api-tens and api-prompt from the MLflow server when it is loaded
api-numbered   scikit-learn, fitted on an array: the signature calls its columns 0 and 1
api-nan        returns NaN and infinities
api-wine       four columns, real scikit-learn, with requirements, an input example, @champion
api/forest     an experiment: two runs with a model, one without
"""

from __future__ import annotations

import json
import sys
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.models import ModelSignature, infer_signature
from mlflow.pyfunc.model import PythonModel
from mlflow.types.schema import ColSpec, DataType, Schema
from sklearn.datasets import load_wine
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.support import agents, models
from tests.support.hostile_names import HOSTILE

COLD = ("api-cold-many", "api-cold-timing", "api-cold-once")
EXPERIMENT = "api/forest"


MIXED = ModelSignature(
    inputs=Schema(
        [
            ColSpec(DataType.long, "count"),
            ColSpec(DataType.double, "weight"),
            ColSpec(DataType.string, "label"),
        ]
    )
)


class CountsLoads(PythonModel):
    """A model that predicts (a + b) times 5, and appends a line to `file` each time it is loaded."""

    def __init__(self, file: str) -> None:
        self.file = file

    def load_context(self, context: Any) -> None:
        from pathlib import Path  # noqa: PLC0415  # the class travels without its module

        with Path(self.file).open("a") as file:
            file.write("loaded\n")

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return ((model_input["a"] + model_input["b"]) * 5.0).to_numpy()


def main() -> None:
    """Register everything; print the run ids of the experiment."""
    mlflow.set_experiment("api-training")
    sums()
    register("api-tens", models.Sums(10.0), signature=models.NUMBERS)
    for name in COLD:
        register(name, CountsLoads(f"{sys.argv[1]}/{name}.loads"), signature=models.NUMBERS)
    register("api-echo", models.Echo(), signature=MIXED)
    register("api-commands", models.Commands(), signature=models.COMMANDS)
    register("api-streams", models.Streams(), signature=models.COMMANDS)
    register("api-chat", agents.Chats())
    register("api-responses", agents.Responds())
    register("api-broken", models.Broken("raise"))
    register("api-slow", models.Broken("slow 2"))
    register("api-slowest", models.Broken("slow 300"))
    register("api-lacking", models.Broken("import"), requirements=("mlflow", "a-missing-package==1.0"))
    register("api-nan", models.Returns([float("nan"), float("inf"), 1.5]))
    client = MlflowClient()
    source = client.get_model_version("api-tens", "1").source or ""
    for name in HOSTILE:
        client.create_registered_model(name)
        client.create_model_version(name, source, model_id=source.removeprefix("models:/"))
    client.create_registered_model("api-lost")
    with mlflow.start_run() as run:
        client.create_model_version("api-lost", f"{run.info.artifact_uri}/nowhere", run_id=run.info.run_id)
        mlflow.log_text("flavors: [", "garbled/MLmodel")
        mlflow.log_text("[" * 5000, "garbled/input_example.json")
        client.create_model_version("api-lost", f"{run.info.artifact_uri}/garbled", run_id=run.info.run_id)
    mlflow.genai.register_prompt("api-prompt", "say {{word}}")
    register("api-reads", models.Reads(), signature=models.NUMBERS)
    wine(client)
    numbered()
    print(json.dumps(experiment()))  # noqa: T201 - the test reads it


def register(
    name: str,
    model: Any,
    *,
    signature: ModelSignature | None = None,
    requirements: tuple[str, ...] = ("mlflow",),
    **metrics: float,
) -> None:
    """Log the model in a run of its own, with these metrics, and register it."""
    with mlflow.start_run():
        mlflow.log_metrics(metrics)
        mlflow.pyfunc.log_model(
            name="model",
            python_model=model,
            signature=signature,
            pip_requirements=list(requirements),
            registered_model_name=name,
        )


def sums() -> None:
    """Register three versions of api-sums; the second has the least error."""
    for factor, rmse in ((1.0, 0.9), (2.0, 0.5), (3.0, 0.7)):
        register("api-sums", models.Sums(factor), signature=models.NUMBERS, rmse=rmse, r2=1 - rmse)
    MlflowClient().set_registered_model_alias("api-sums", "champion", "2")


def wine(client: MlflowClient) -> None:
    """Register api-wine, which is like the model of the demo."""
    measured, targets = load_wine(return_X_y=True, as_frame=True)
    inputs = measured[["alcohol", "flavanoids", "color_intensity", "proline"]]
    estimator = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(inputs, targets)
    with mlflow.start_run(run_name="a wine"):
        mlflow.log_param("alpha", 0.5)
        mlflow.log_metric("accuracy", 0.97)
        mlflow.sklearn.log_model(
            estimator,
            name="model",
            signature=infer_signature(inputs, estimator.predict(inputs)),
            input_example=inputs.head(2),
            pip_requirements=["mlflow", "scikit-learn", "a-missing-package==1.0"],
            serialization_format="cloudpickle",
            registered_model_name="api-wine",
        )
    client.set_registered_model_alias("api-wine", "champion", "1")


def numbered() -> None:
    """Register api-numbered, which predicts x0 + 2 x1."""
    array = np.array([[1.0, 2.0], [3.0, 5.0], [4.0, 1.0]])
    estimator = LinearRegression().fit(array, array @ [1.0, 2.0])
    with mlflow.start_run():
        mlflow.sklearn.log_model(
            estimator,
            name="model",
            signature=infer_signature(pd.DataFrame(array), pd.DataFrame(estimator.predict(array))),
            pip_requirements=["mlflow", "scikit-learn"],
            serialization_format="cloudpickle",
            registered_model_name="api-numbered",
        )


def experiment() -> list[str]:
    """Create the experiment, and return the ids of its runs: the first and the third have a model."""
    mlflow.set_experiment(EXPERIMENT)
    runs = []
    for factor, accuracy in ((7.0, 0.9), (None, 0.5), (8.0, 0.8)):
        with mlflow.start_run() as run:
            mlflow.log_metric("accuracy", accuracy)
            if factor is not None:
                mlflow.pyfunc.log_model(
                    name="model",
                    python_model=models.Sums(factor),
                    signature=models.NUMBERS,
                    pip_requirements=["mlflow"],
                )
        runs.append(run.info.run_id)
    return runs


if __name__ == "__main__":
    main()
