"""scikit-learn: what its estimators, pipelines and transformers answer."""

from __future__ import annotations

import sys
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature, infer_signature
from mlflow.pyfunc.model import PythonModel
from mlflow.types.schema import Schema, TensorSpec
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from tests.zoo.making.made import Made, columns

# The functions travel by value: a worker need not be able to import the tests.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

PICKLED = {"serialization_format": "cloudpickle"}
TRUSTED = {"serialization_format": "skops", "skops_trusted_types": ["sklearn.tree._tree.Tree"]}
FLOWERS = ["sepal length", "sepal width", "petal length", "petal width"]


def flowers() -> tuple[pd.DataFrame, Any]:
    """Iris, with short column names."""
    values, kinds = load_iris(return_X_y=True)
    return pd.DataFrame(values, columns=FLOWERS), kinds


def days(frame: pd.DataFrame) -> pd.DataFrame:
    """Days since 2020 and the day of the week, of each datetime column."""
    made: dict[str, Any] = {}
    for name in frame.columns:
        made[f"{name} since"] = (frame[name] - pd.Timestamp("2020-01-01")) / pd.Timedelta(days=1)
        made[f"{name} of week"] = frame[name].dt.dayofweek
    return pd.DataFrame(made)


def linear() -> Made:
    """A regression on three doubles."""
    inputs = pd.DataFrame(np.random.default_rng(1).normal(size=(40, 3)), columns=["a", "b", "c"])
    model = LinearRegression().fit(inputs, inputs["a"] - 2 * inputs["b"] + inputs["c"] / 2 + 3)
    return Made("sklearn", model, ModelSignature(columns(a="double", b="double", c="double")), PICKLED)


def pipeline() -> Made:
    """Strings, dates and numbers through a pipeline."""
    rows = 60
    draw = np.random.default_rng(2)
    inputs = pd.DataFrame(
        {
            "city": draw.choice(["Bern", "Köln", "Lyon"], rows),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(draw.integers(0, 400, rows), unit="D"),
            "size": draw.uniform(20, 200, rows),
            "rooms": draw.integers(1, 7, rows),
        }
    )
    prepare = ColumnTransformer(
        [
            ("city", OneHotEncoder(handle_unknown="ignore"), ["city"]),
            ("day", FunctionTransformer(days), ["day"]),
            ("size", StandardScaler(), ["size", "rooms"]),
        ]
    )
    model = make_pipeline(prepare, LinearRegression()).fit(inputs, inputs["size"] * 12 + inputs["rooms"] * 50)
    signature = ModelSignature(columns(city="string", day="datetime", size="double", rooms="long"))
    return Made("sklearn", model, signature, PICKLED)


def labels() -> Made:
    """A classifier whose classes are strings."""
    inputs, kinds = flowers()
    named = np.array(["setosa", "versicolor", "virginica"])[kinds]
    model = LogisticRegression(max_iter=500).fit(inputs, named)
    return Made("sklearn", model, infer_signature(inputs, named), PICKLED)


def outputs() -> Made:
    """Two targets at once."""
    inputs, kinds = flowers()
    model = LinearRegression().fit(inputs, np.column_stack([kinds, kinds * -2.5]))
    return Made("sklearn", model, infer_signature(inputs), PICKLED)


def clusters() -> Made:
    """Clusters: 32 bit integers."""
    inputs, _ = flowers()
    return Made("sklearn", KMeans(3, n_init=1, random_state=3).fit(inputs), infer_signature(inputs), PICKLED)


class Transforms(PythonModel):
    """Answers `transform`, which the flavor's own pyfunc cannot be asked for."""

    def __init__(self, transformer: StandardScaler) -> None:
        self.transformer = transformer

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
        return self.transformer.transform(model_input)


def scaler() -> Made:
    """A transformer."""
    inputs, _ = flowers()
    return Made("pyfunc", Transforms(StandardScaler().fit(inputs)), infer_signature(inputs))


def probabilities() -> Made:
    """A classifier that answers `predict_proba`."""
    inputs, kinds = flowers()
    model = LogisticRegression(max_iter=500).fit(inputs, kinds)
    return Made("sklearn", model, infer_signature(inputs), {**PICKLED, "pyfunc_predict_fn": "predict_proba"})


def forest() -> Made:
    """A forest on whole numbers, in the format that MLflow saves scikit-learn's models in by default."""
    inputs = pd.DataFrame(np.random.default_rng(4).integers(0, 50, size=(60, 2)), columns=["x", "y"])
    model = RandomForestClassifier(5, random_state=4).fit(inputs, inputs["x"] > inputs["y"])
    return Made("sklearn", model, ModelSignature(columns(x="long", y="long")), TRUSTED)


def unsigned() -> Made:
    """A regression without signature."""
    made = linear()
    return Made("sklearn", made.model, None, PICKLED)


def tensor() -> Made:
    """A classifier on an array."""
    inputs, kinds = flowers()
    model = LogisticRegression(max_iter=500).fit(inputs.to_numpy(), kinds)
    signature = ModelSignature(Schema([TensorSpec(np.dtype(np.float64), (-1, 4))]))
    return Made("sklearn", model, signature, PICKLED)


MAKERS = {
    "sk-linear": linear,
    "sk-pipeline": pipeline,
    "sk-labels": labels,
    "sk-outputs": outputs,
    "sk-clusters": clusters,
    "sk-scaler": scaler,
    "sk-probabilities": probabilities,
    "sk-forest": forest,
    "sk-unsigned": unsigned,
    "sk-tensor": tensor,
}
