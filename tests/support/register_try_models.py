"""Register models that tell what they received, one for each kind of form. A script, as register_models is.

try-scalars, try-nested, try-optional, try-unnamed, try-numbered, try-params, try-tensor, try-named,
try-pixels, try-texts, try-unsigned, try-things, try-words: see KINDS
try-hostile    columns, values and params whose texts are markup, quotes and commands of a shell
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature, infer_signature
from mlflow.types.schema import AnyType, Array, DataType, Map, ParamSchema, ParamSpec, Schema

from tests.zoo.making import typed_models as typed
from tests.zoo.making.made import columns

HOSTILE_TEXT = """<img src=x onerror=alert(1)> '"; $(touch /tmp/x) `id` \\ %s {0} \u2028 ☃ </script>"""
SCALARS = {
    "a_double": 0.5,
    "a_float": 1.5,
    "a_long": 9007199254740993,
    "an_integer": -7,
    "a_boolean": True,
    "a_text": "007",
    "a_datetime": "2024-01-31T12:00:00",
    "a_binary": "aGk=",
}
NESTED: dict[str, Any] = {
    "numbers": [1, 9007199254740993],
    "point": {"x": 0.25, "label": "here"},
    "by_name": {"a": 1.0, "b": 2.5},
    "anything": "text",
    "points": [{"x": 1.5}, {"x": 2.5, "label": "there"}],
}
NESTED_TYPES = {
    "numbers": Array(DataType.long),
    "point": typed.POINT,
    "by_name": Map(DataType.double),
    "anything": AnyType(),
    "points": Array(typed.POINT),
}


def _split(row: dict[str, Any]) -> dict[str, Any]:
    return {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}}


SCALAR_TYPES = dict(
    zip(
        SCALARS,
        ("double", "float", "long", "integer", "boolean", "string", "datetime", "binary"),
        strict=True,
    )
)
HOSTILE_SIGNATURE = ModelSignature(
    Schema(
        [
            *columns(**{HOSTILE_TEXT: "string"}),
            *columns(**{"a'b": "double"}),
        ]
    ),
    params=ParamSchema([ParamSpec("it's", DataType.string, default=HOSTILE_TEXT)]),
)
KINDS: dict[str, tuple[Any, ModelSignature | None, Any]] = {
    "scalars": (typed.Tells(), ModelSignature(columns(**SCALAR_TYPES)), _split(SCALARS)),
    "nested": (typed.Tells(), ModelSignature(columns(**NESTED_TYPES)), _split(NESTED)),
    "optional": (typed.Tells(), typed.SIGNATURES["optional-columns"], None),
    "unnamed": (
        typed.Tells(),
        typed.SIGNATURES["unnamed-columns"],
        {"dataframe_split": {"data": [[0.5, 3]]}},
    ),
    "numbered": (
        typed.TellsNames(),
        infer_signature(pd.DataFrame(np.array([[1.5, 2.5]]))),
        {"dataframe_split": {"columns": [0, 1], "data": [[1.5, 2.5]]}},
    ),
    "params": (
        typed.TellsParams(),
        ModelSignature(columns(value="double"), params=typed.PARAMS),
        _split({"value": 1.0}),
    ),
    "tensor": (typed.Tells(), typed.SIGNATURES["tensor-unnamed"], None),
    "named": (typed.Tells(), typed.SIGNATURES["tensor-named"], None),
    "pixels": (typed.Tells(), typed.SIGNATURES["tensor-bytes"], None),
    "texts": (typed.Tells(), typed.SIGNATURES["tensor-text"], {"inputs": ["a", "é"]}),
    "unsigned": (typed.Tells(), None, {"instances": [{"a": 1}]}),
    "things": (typed.TellsThings(), None, {"inputs": [{"name": "a", "size": 1.5, "tags": ["t"]}]}),
    "words": (typed.TellsTexts(), None, {"inputs": ["a", "b"]}),
    "hostile": (typed.Tells(), HOSTILE_SIGNATURE, _split({HOSTILE_TEXT: HOSTILE_TEXT, "a'b": 1.0})),
}


def main() -> None:
    """Register each kind as one version, its example beside it as MLflow stores one."""
    mlflow.set_experiment("try")
    for name, (model, signature, example) in KINDS.items():
        with tempfile.TemporaryDirectory() as folder, mlflow.start_run() as run:
            mlflow.pyfunc.save_model(
                f"{folder}/model", python_model=model, signature=signature, pip_requirements=["mlflow"]
            )
            if example is not None:
                path = Path(folder, "model", "serving_input_example.json")
                path.write_text(json.dumps(example), encoding="utf-8")
            mlflow.log_artifacts(f"{folder}/model", "model")
            client = mlflow.MlflowClient()
            client.create_registered_model(f"try-{name}")
            client.create_model_version(
                f"try-{name}", f"{run.info.artifact_uri}/model", run_id=run.info.run_id
            )


if __name__ == "__main__":
    main()
    print("null")  # noqa: T201 - the test reads it
