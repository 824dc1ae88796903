"""Proves that metadata uses MLServer's terms, and that responses use the same names and types."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Map, Object, Property, Schema, TensorSpec

from gateway.api.v2 import metadata
from gateway.domain.mlmodel import Signature
from tests.support.codec.v2_bodies import encoded_json

COLUMNS: list[tuple[Any, str, str]] = [
    (DataType.boolean, "BOOL", "np"),
    (DataType.integer, "INT32", "np"),
    (DataType.long, "INT64", "np"),
    (DataType.float, "FP32", "np"),
    (DataType.double, "FP64", "np"),
    (DataType.string, "BYTES", "str"),
    (DataType.binary, "BYTES", "base64"),
    (DataType.datetime, "BYTES", "datetime"),
    (Array(DataType.long), "BYTES", "pd_json"),
    (Object([Property("k", DataType.string)]), "BYTES", "pd_json"),
    (Map(DataType.string), "BYTES", "pd_json"),
    (AnyType(), "BYTES", "pd_json"),
]
FRAME = pd.DataFrame({"y": [1.0], "s": ["a"]})
TENSORS = [
    ("bool", "BOOL", "np"),
    ("uint8", "UINT8", "np"),
    ("int64", "INT64", "np"),
    ("float16", "FP16", "np"),
    ("float32", "FP32", "np"),
    ("str", "BYTES", "str"),
    ("object", "BYTES", "str"),
    ("datetime64[ns]", "BYTES", "datetime"),
]


def outputs(schema: Schema) -> list[dict[str, Any]]:
    """Return the metadata's outputs of a signature in the form of an MLmodel file."""
    signature = Signature(outputs=json.loads(json.dumps(schema.to_dict())))
    document: Any = metadata.model_metadata("m", ["1"], signature)["outputs"]
    return list(document)


@pytest.mark.parametrize(("kind", "datatype", "content_type"), COLUMNS)
def test_columns(kind: Any, datatype: str, content_type: str) -> None:
    """Each of MLflow's column types has a datatype and a content type."""
    assert outputs(Schema([ColSpec(kind, "x")])) == [
        {"name": "x", "datatype": datatype, "shape": [-1, 1], "parameters": {"content_type": content_type}}
    ]


@pytest.mark.parametrize(("dtype", "datatype", "content_type"), TENSORS)
def test_tensors(dtype: str, datatype: str, content_type: str) -> None:
    """A tensor has the datatype of its dtype, and keeps its shape."""
    assert outputs(Schema([TensorSpec(np.dtype(dtype), (-1, 3))])) == [
        {
            "name": "output-0",
            "datatype": datatype,
            "shape": [-1, 3],
            "parameters": {"content_type": content_type},
        }
    ]


@pytest.mark.parametrize(
    ("schema", "returned"),
    [
        (Schema([ColSpec(DataType.double, None)]), np.ones(2)),
        (Schema([ColSpec(DataType.double, "y")]), [1.0]),
        (Schema([ColSpec(DataType.double, "y"), ColSpec(DataType.string, "s")]), FRAME),
        (Schema([ColSpec(DataType.double, None), ColSpec(DataType.double, None)]), np.ones((3, 2))),
        (Schema([TensorSpec(np.dtype("float64"), (-1, 2))]), np.ones((3, 2))),
        (Schema([TensorSpec(np.dtype("float32"), (-1,), "a"), TensorSpec(np.dtype("float32"), (-1,), "b")]),
         {"a": np.ones(1, dtype=np.float32), "b": np.ones(1, dtype=np.float32)}),
    ],
)  # fmt: skip
def test_responses_use_the_names_and_types(schema: Schema, returned: Any) -> None:
    """A response has the outputs that the metadata promises."""
    promised = [(output["name"], output["datatype"]) for output in outputs(schema)]
    answered = [
        (output["name"], output["datatype"]) for output in encoded_json(returned, outputs=schema)["outputs"]
    ]
    assert answered == promised


@pytest.mark.parametrize("outputs_", [None, 5, "x", {}, [5], [{"type": ["a"]}], [{"tensor-spec": 5}]])
def test_odd_signatures(outputs_: object) -> None:
    """Any JSON in place of the outputs gives a valid response."""
    document: Any = metadata.model_metadata("m", ["1"], Signature(outputs=outputs_))
    assert all(output["datatype"] == "BYTES" for output in document["outputs"])
    assert metadata.model_metadata("m", ["1"], None)["inputs"] == []


@pytest.mark.parametrize(("name", "text"), [(0, "0"), (1, "1"), (0.5, "0.5"), ("", "")])
def test_names_that_are_not_usual(name: Any, text: str) -> None:
    """A number is a name as text, as the worker reads and writes it."""
    schema = Schema([ColSpec(DataType.double, name)])
    assert [each["name"] for each in outputs(schema)] == [text]
    assert encoded_json(np.array([1.5]), outputs=schema)["outputs"][0]["name"] == text
