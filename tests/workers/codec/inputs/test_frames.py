"""Valid bodies give the frame that MLflow makes of the same bytes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Map, Object, Property, Schema
from pandas.testing import assert_frame_equal

from tests.support.codec.specs import (
    MIXED,
    column,
    columns,
    decode,
    decode_error,
    mlflow_input,
    model_input,
    split_body,
)

ITEM = Object([Property("k", DataType.long), Property("note", DataType.string, required=False)])

# Type, values that MLflow accepts unchanged.
VALUES: list[tuple[Any, list[Any]]] = [
    (DataType.boolean, [True, False]),
    (DataType.integer, [1, -(2**31), 2**31 - 1]),
    (DataType.long, [1, -(2**63), 2**63 - 1]),
    (DataType.float, [1.5, 0.1, 2]),
    (DataType.double, [1.5, 0.1, 2, None, 2**53]),
    (DataType.double, [None, None]),
    (DataType.string, ["a", "", "wörld ☃"]),
    (DataType.string, ["a", None]),
    (DataType.string, [None, None]),
    (DataType.binary, ["aGVsbG8=", ""]),
    (DataType.datetime, ["2024-01-02", "2024-12-31"]),
    (DataType.datetime, ["2024-01-02T03:04:05.123456789"]),
    (DataType.datetime, ["2024-01-02 03:04:05", None]),
    (Array(DataType.long), [[1, 2], [3]]),
    (Array(DataType.double), [[1.5, None], []]),
    (Array(DataType.string), [["a", "b"], ["c"]]),
    (Array(Array(DataType.boolean)), [[[True], [False, True]]]),
    (ITEM, [{"k": 1, "note": "n"}, {"k": 2}]),
    (Map(DataType.string), [{"a": "b"}, {}]),
    (AnyType(), [1, "a", {"k": [1]}, None]),
]
IDS = [str(mlflow_type) for mlflow_type, _ in VALUES]


@pytest.mark.parametrize(("mlflow_type", "values"), VALUES, ids=IDS)
def test_every_type_in_a_split(mlflow_type: Any, values: list[Any]) -> None:
    """Values, dtypes, columns and index are MLflow's, for required and optional columns."""
    for required in (True, False):
        schema = column(mlflow_type, required=required)
        assert_frame_equal(model_input(split_body(values), schema), mlflow_input(split_body(values), schema))


@pytest.mark.parametrize(("mlflow_type", "values"), VALUES, ids=IDS)
def test_every_type_in_records(mlflow_type: Any, values: list[Any]) -> None:
    """Records give the same frame as rows do."""
    body = {"dataframe_records": [{"x": value} for value in values]}
    assert_frame_equal(model_input(body, column(mlflow_type)), mlflow_input(body, column(mlflow_type)))


@pytest.mark.parametrize("form", ["instances", "inputs"])
@pytest.mark.parametrize(
    ("mlflow_type", "values"),
    [
        (DataType.boolean, [True, False]),
        (DataType.integer, [1, 2**31 - 1]),
        (DataType.long, [1, 2**63 - 1]),
        (DataType.float, [1.5, 0.1, 2]),
        (DataType.double, [1.5, 2]),
        (DataType.string, ["a", "b"]),
        (DataType.datetime, ["2024-01-02", "2024-12-31T01:02:03"]),
    ],
)
def test_values_of_one_column(form: str, mlflow_type: DataType, values: list[Any]) -> None:
    """`instances` and `inputs` accept a list for a single column, named or not, and columns by name."""
    for schema in (column(mlflow_type), columns((mlflow_type, None))):
        assert_frame_equal(model_input({form: values}, schema), mlflow_input({form: values}, schema))
        assert_frame_equal(
            model_input({form: values[0]}, columns((mlflow_type, None))),
            model_input({form: values[:1]}, columns((mlflow_type, None))),
        )
    named = {form: {"x": values}}
    assert_frame_equal(model_input(named, column(mlflow_type)), mlflow_input(named, column(mlflow_type)))


ROW = {"count": 3, "size": 1.5, "name": "a", "open": True, "since": "2024-01-02"}


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": list(ROW), "data": [list(ROW.values())] * 2}},
        {"dataframe_split": {"columns": list(ROW)[::-1], "data": [list(ROW.values())[::-1]]}},
        {"dataframe_split": {"columns": list(ROW), "index": [7, 3], "data": [list(ROW.values())] * 2}},
        {"dataframe_split": {"columns": list(ROW), "index": ["a", "a"], "data": [list(ROW.values())] * 2}},
        {"dataframe_split": {"columns": list(ROW), "index": None, "data": []}},
        {"dataframe_records": [ROW, ROW]},
        {"instances": [ROW, ROW]},
        {"inputs": [ROW, ROW]},
        {"inputs": ROW},
        {"inputs": {name: [value] * 3 for name, value in ROW.items()}},
    ],
)
def test_forms_of_a_mixed_table(body: dict[str, Any]) -> None:
    """Every form gives MLflow's frame: the columns in the signature's order, the index of the body."""
    assert_frame_equal(model_input(body, MIXED), mlflow_input(body, MIXED))


@pytest.mark.parametrize("dtype", ["float64", "int64", "int32", "bool", "float32"])
def test_columns_of_one_dtype(dtype: str) -> None:
    """Columns of one dtype give MLflow's frame, with an index too."""
    example = pd.DataFrame(np.eye(3).astype(dtype), columns=["a", "b", "c"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that integers cannot be missing
        inputs = infer_signature(example).inputs
    rows = example.to_numpy().tolist()
    body = {"dataframe_split": {"columns": ["c", "a", "b"], "data": rows, "index": [5, 6, 7]}}
    actual = model_input(body, inputs, enforced=False)
    assert_frame_equal(actual, mlflow_input(body, inputs))
    assert list(actual.columns) == ["a", "b", "c"]


def test_nameless_columns_keep_the_bodys_names() -> None:
    """Without names in the signature, columns match by position and keep the names of the body."""
    schema = columns((DataType.long, None), (DataType.string, None))
    for names in (["p", "q"], [0, 1], None):
        body = {"dataframe_split": {"columns": names, "data": [[1, "a"], [2, "b"]]}}
        assert_frame_equal(model_input(body, schema), mlflow_input(body, schema))


def test_optional_columns() -> None:
    """A column of nulls alone is kept if its type can hold null, and else omitted."""
    schema = Schema(
        [
            ColSpec(DataType.double, "a"),
            ColSpec(DataType.double, "b", required=False),
            ColSpec(DataType.long, "c", required=False),
        ]
    )
    for record in ({"a": 1.5}, {"a": 1.5, "b": 2.5, "c": 3}, {"a": 1.5, "b": None}):
        body = {"dataframe_records": [record]}
        assert_frame_equal(model_input(body, schema), mlflow_input(body, schema))
    assert list(model_input({"dataframe_records": [{"a": 1.5, "b": None, "c": None}]}, schema)) == ["a", "b"]


def test_lists_in_a_single_column() -> None:
    """A list of lists is one row each of a column of lists; a flat list is one row, as in MLflow."""
    schema = column(Array(DataType.long))
    assert model_input({"instances": [[1, 2], [3]]}, schema)["x"].tolist() == [[1, 2], [3]]
    assert model_input({"inputs": {"x": [1, 2]}}, schema)["x"].tolist() == [[1, 2]]
    assert model_input({"inputs": [1, 2]}, schema)["x"].tolist() == [[1, 2]]


def test_objects_in_a_nameless_column() -> None:
    """A nameless column of objects holds each object whole."""
    assert model_input({"inputs": [{"k": 1}, {"k": 2}]}, columns((ITEM, None)))[0].tolist() == [
        {"k": 1},
        {"k": 2},
    ]


DAY, HOUR = pd.Timestamp("2024-01-02"), pd.Timedelta("1h")

# Values that MLflow rejects or changes, and what the model gets here.
BETTER: list[tuple[str, Any, list[Any], list[Any]]] = [
    ("2.0 is a long", DataType.long, [2.0, 3], [2, 3]),
    ("exact beside a decimal", DataType.long, [2.0, 2**53 + 1], [2, 2**53 + 1]),
    ("zoned becomes UTC", DataType.datetime, ["2024-01-02T03:00+02:00"], [DAY + HOUR]),
    ("several forms", DataType.datetime, ["2024-01-02", "2024-01-02T01:00Z"], [DAY, DAY + HOUR]),
    ("null in binary", DataType.binary, ["aGk=", None], [b"hi", None]),
    ("an integer that a double holds", DataType.double, [2**70, 0.5], [2.0**70, 0.5]),
    ("32 bit integers in lists", Array(DataType.integer), [[1, 2]], [[1, 2]]),
    ("integers in lists of doubles", Array(DataType.double), [[1, 2]], [[1.0, 2.0]]),
    ("the largest float", DataType.float, [3.4028235e38], [float(np.finfo(np.float32).max)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("mlflow_type", "sent", "received"), [case[1:] for case in BETTER], ids=[case[0] for case in BETTER]
)
def test_exact_conversions_are_accepted(mlflow_type: Any, sent: list[Any], received: list[Any]) -> None:
    """A value that MLflow would reject or round passes its check in `predict` exactly."""
    cells = [
        cell.tolist() if isinstance(cell, np.ndarray) else cell
        for cell in model_input(split_body(sent), column(mlflow_type))["x"]
    ]
    assert cells == received


def test_a_signature_that_could_not_be_inferred() -> None:
    """MLflow's default, one nameless column of any values, holds each item whole and drops no column."""
    schema = columns((AnyType(), None))
    assert model_input({"inputs": [{"a": 1}, [2, 3], "x"]}, schema)[0].tolist() == [{"a": 1}, [2, 3], "x"]
    assert "takes 1 column;" in str(decode_error({"dataframe_split": {"data": [[1, 2]]}}, schema))


def test_without_signature() -> None:
    """Values get the dtypes of pandas and numpy, or become objects if that would change a value."""
    body = {"dataframe_split": {"columns": ["a", "b"], "data": [[1, "x"], [2, "y"]]}}
    assert_frame_equal(model_input(body, None), mlflow_input(body, None))
    indexed = {"dataframe_split": {"columns": ["a"], "index": ["p"], "data": [[1]]}}
    assert_frame_equal(model_input(indexed, None), mlflow_input(indexed, None))
    actual = decode(split_body([2**53 + 1, 0.5]), None).data
    assert actual["x"].tolist() == [2**53 + 1, 0.5]
    assert decode({"inputs": [1, "a"]}, None).data.tolist() == [1, "a"]
    assert decode({"inputs": [2**53 + 1, 0.5]}, None).data.tolist() == [2**53 + 1, 0.5]
    forms: list[dict[str, Any]] = [
        {"inputs": [[1, 2], [3, 4]]},
        {"inputs": {"a": [1.5], "b": "x"}},
        {"instances": [{"a": 1}, {"a": 2}]},
        {"inputs": [{"a": 1}, {"b": [2]}]},
    ]
    for form in forms:
        actual, expected = model_input(form, None), mlflow_input(form, None)
        np.testing.assert_equal(actual, expected)
        assert str(actual) == str(expected)
    assert decode_error({"instances": [{"a": 1}, {"b": 2}]}, None).details[0].row == 1
    assert "not an array" in str(decode_error({"inputs": [[1], [1, 2]]}, None))
