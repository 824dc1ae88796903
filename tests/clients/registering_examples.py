"""Registers models with input examples, for clients that are generated; run as a script.

example-table    columns of several types, one of them optional
example-tensor   an array
example-params   a column, and params
example-nested   lists and objects in columns
example-names    columns whose names are no identifiers
wine             the version of api-wine, under the name in the examples of the whole API's document
"""

from __future__ import annotations

from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.models import ModelSignature, infer_signature
from mlflow.types.schema import DataType, ParamSchema, ParamSpec

from tests.support import models

TABLE = pd.DataFrame(
    {
        "open": [True, False],
        "count": [2**60, 2],
        "size": [1.5, 2.5],
        "label": ["a", "b"],
        "since": pd.to_datetime(["2024-02-03T00:00:00", "2024-02-04T05:06:07"]),
    }
)
NESTED = [
    {"tags": ["a", "b"], "place": {"x": 1.5, "name": "here"}},
    {"tags": [], "place": {"x": 2.5, "name": "there"}},
]
NAMES = pd.DataFrame({"sepal length (cm)": [1.5], "class": [2.5], "ü": [3.5], "from": [4.5]})
PARAMS = ParamSchema(
    [ParamSpec("temperature", DataType.double, 0.5), ParamSpec("stops", DataType.string, ["a"], shape=(-1,))]
)


def main() -> None:
    """Register everything."""
    log("example-table", models.Echo(), TABLE)
    log("example-tensor", models.Echo(), np.array([[1.5, 2.5], [3.5, 4.5]]))
    log("example-nested", models.Echo(), NESTED)
    log("example-names", models.Echo(), NAMES)
    one = pd.DataFrame({"x": [1.0]})
    signature = ModelSignature(inputs=infer_signature(one).inputs, params=PARAMS)
    log(
        "example-params",
        models.Params(),
        (one, {"temperature": 0.25, "stops": ["b", "c"]}),
        signature=signature,
    )
    client = MlflowClient()
    known = client.get_model_version("api-wine", "1")
    client.create_registered_model("wine")
    source = str(known.source)
    client.create_model_version("wine", source, model_id=source.removeprefix("models:/"))
    client.set_registered_model_alias("wine", "champion", "1")
    print("null")  # noqa: T201 - the test reads it


def log(name: str, model: Any, example: Any, *, signature: ModelSignature | None = None) -> None:
    """Log the model with its example, by which MLflow infers the signature if none is given."""
    with mlflow.start_run():
        mlflow.pyfunc.log_model(
            name="model",
            python_model=model,
            signature=signature,
            input_example=example,
            pip_requirements=["mlflow"],
            registered_model_name=name,
        )


if __name__ == "__main__":
    main()
