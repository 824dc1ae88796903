"""Train the demo's example models and log them on an MLflow server.

A program of its own: `python -m gateway.cli.demo.training TRACKING_URI`. It imports mlflow and scikit-learn,
so the gateway's process never imports it.

    wine          registered, three versions; version 2 is the best and has the alias `champion`
    iris-petals   registered, one version; takes text, a date and two numbers, and predicts text
    forest        an experiment with three runs, each with a model; no model is registered
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from gateway.cli.demo.server import wait_until_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sklearn.base import BaseEstimator

MEASURED_FROM = pd.Timestamp("2024-05-01")
MEASURED_PER_DAY = 10
PETAL_LENGTH_BOUNDS = (0.0, 2.5, 5.0, float("inf"))
PETAL_LENGTH_LABELS = ("short", "medium", "long")


@dataclass(frozen=True, slots=True)
class Example:
    """One model to train: its experiment, its data and its descriptions."""

    experiment: str
    label: str
    estimator: BaseEstimator
    inputs: pd.DataFrame
    targets: pd.Series[Any]
    registered: bool = False
    alias: str = ""
    description: str = ""


def wine() -> Iterator[Example]:
    """Yield three classifiers of a wine's cultivar (0, 1 or 2), from four measurements."""
    measured, targets = load_wine(return_X_y=True, as_frame=True)
    inputs = measured[["alcohol", "flavanoids", "color_intensity", "proline"]]
    scaled = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, random_state=7))
    estimators: list[tuple[str, BaseEstimator, str]] = [
        ("a decision tree of depth 1", DecisionTreeClassifier(max_depth=1, random_state=7), ""),
        ("logistic regression on scaled measurements", scaled, "champion"),
        ("five nearest neighbours, not scaled", KNeighborsClassifier(), ""),
    ]
    for label, estimator, alias in estimators:
        yield Example(
            "wine",
            label,
            estimator,
            inputs,
            targets,
            registered=True,
            alias=alias,
            description=WINE_DESCRIPTION,
        )


def iris() -> Iterator[Example]:
    """Yield a classifier of the length of an iris's petals, from its species, a date and its sepals.

    The dates are made up: ten flowers a day in the data set's order, from 1 May 2024 on.
    """
    data = load_iris(as_frame=True)
    days = pd.to_timedelta(pd.Series(range(len(data.data))) // MEASURED_PER_DAY, unit="D")
    inputs = pd.DataFrame(
        {
            "species": data.target.map(dict(enumerate(data.target_names))).astype(object),
            "measured_on": (MEASURED_FROM + days).astype("datetime64[ns]"),
            "sepal_length": data.data["sepal length (cm)"],
            "sepal_width": data.data["sepal width (cm)"],
        }
    )
    lengths = pd.cut(data.data["petal length (cm)"], PETAL_LENGTH_BOUNDS, labels=PETAL_LENGTH_LABELS).astype(
        str
    )
    encoder = ColumnTransformer(
        [
            ("species", OneHotEncoder(), ["species"]),
            ("date", make_pipeline(day_number(), StandardScaler()), ["measured_on"]),
            ("sepals", StandardScaler(), ["sepal_length", "sepal_width"]),
        ]
    )
    estimator = make_pipeline(encoder, LogisticRegression(max_iter=1000, random_state=7))
    yield Example(
        "iris-petals",
        "logistic regression on encoded columns",
        estimator,
        inputs,
        lengths,
        registered=True,
        description=IRIS_DESCRIPTION,
    )


def day_number() -> FunctionTransformer:
    """Return a transformer of dates to days since the first measurement, for dates of any resolution."""

    # An inner function is pickled by value: the worker that loads the model need not import this module.
    def days(dates: pd.DataFrame) -> pd.DataFrame:
        since = {name: dates[name] - MEASURED_FROM for name in dates.columns}
        return pd.DataFrame({name: elapsed / pd.Timedelta(days=1) for name, elapsed in since.items()})

    return FunctionTransformer(days)


def forest() -> Iterator[Example]:
    """Yield three forests that classify a tumour as benign (1) or malignant (0)."""
    measured, targets = load_breast_cancer(return_X_y=True, as_frame=True)
    inputs = measured[["mean radius", "mean texture", "mean concavity"]]
    for trees, depth in ((2, 1), (50, 4), (5, 2)):
        estimator = RandomForestClassifier(trees, max_depth=depth, random_state=7)
        yield Example("forest", f"{trees} trees of depth {depth}", estimator, inputs, targets)


WINE_DESCRIPTION = "Predicts which of three cultivars (0, 1, 2) a wine is made of, from a chemical analysis."
IRIS_DESCRIPTION = (
    "Predicts whether an iris has short, medium or long petals, from its species, a date and its sepals."
)


def publish(example: Example) -> None:
    """Train one example, log it in a run of its experiment with its metrics, and register it."""
    train_x, test_x, train_y, test_y = train_test_split(
        example.inputs, example.targets, random_state=7, stratify=example.targets
    )
    mlflow.set_experiment(example.experiment)
    with mlflow.start_run(run_name=example.label, tags={"mlflow.source.name": "gateway demo"}):
        example.estimator.fit(train_x, train_y)
        mlflow.log_params({"estimator": example.label, "rows": len(train_x)})
        logged = mlflow.sklearn.log_model(
            example.estimator,
            name="model",
            signature=infer_signature(train_x, example.estimator.predict(train_x)),
            input_example=train_x.head(2),
            pip_requirements=[f"{name}=={version(name)}" for name in ("mlflow", "scikit-learn", "pandas")],
            # the default format, skops, refuses trees and custom functions
            serialization_format="cloudpickle",
        )
        mlflow.log_metrics(scores(example.estimator, test_x, test_y))
    if example.registered:
        register(example, logged.model_uri)


def scores(estimator: BaseEstimator, inputs: pd.DataFrame, targets: pd.Series[Any]) -> dict[str, float]:
    """Return accuracy and log loss on the test rows; for two classes also the area under the ROC curve."""
    probabilities = estimator.predict_proba(inputs)
    found = {
        "accuracy": float(accuracy_score(targets, estimator.predict(inputs))),
        "log_loss": float(log_loss(targets, probabilities, labels=estimator.classes_)),
    }
    if len(estimator.classes_) == 2:
        found["roc_auc"] = float(roc_auc_score(targets, probabilities[:, 1]))
    return found


def register(example: Example, uri: str) -> None:
    """Register the logged model as the next version, with its alias and descriptions."""
    client = mlflow.MlflowClient()
    registered = mlflow.register_model(uri, example.experiment)
    client.update_registered_model(example.experiment, description=example.description)
    client.update_model_version(example.experiment, registered.version, description=f"By {example.label}.")
    if example.alias:
        client.set_registered_model_alias(example.experiment, example.alias, registered.version)


def main(arguments: list[str]) -> int:
    """Train all models on the server that the only argument names, and print a line for each."""
    wait_until_up(arguments[0])
    mlflow.set_tracking_uri(arguments[0])
    examples = [*wine(), *iris(), *forest()]
    for number, example in enumerate(examples, 1):
        started = time.monotonic()
        publish(example)
        seconds = time.monotonic() - started
        sys.stdout.write(f"{number}/{len(examples)} {example.experiment}: {example.label}, {seconds:.1f} s\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
