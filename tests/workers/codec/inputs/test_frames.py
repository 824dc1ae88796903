"""Valid bodies: the frame is the one that MLflow makes of the same bytes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Map, Object, Property, Schema
from pandas.testing import assert_frame_equal

from tests.support.codec.plans import MIXED, by_mlflow, column, columns, data, read, refused, split

ITEM = Object([Property("k", DataType.long), Property("note", DataType.string, required=False)])

# Type → values that MLflow takes without changing them.
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
IDS = [str(kind) for kind, _ in VALUES]


@pytest.mark.parametrize(("kind", "values"), VALUES, ids=IDS)
def test_every_type_in_a_split(kind: Any, values: list[Any]) -> None:
    """Values, dtypes, columns and index are MLflow's, for required and optional columns."""
    for required in (True, False):
        schema = column(kind, required=required)
        assert_frame_equal(data(split(values), schema), by_mlflow(split(values), schema))


@pytest.mark.parametrize(("kind", "values"), VALUES, ids=IDS)
def test_every_type_in_records(kind: Any, values: list[Any]) -> None:
    """Records give the same frame as rows do."""
    body = {"dataframe_records": [{"x": value} for value in values]}
    assert_frame_equal(data(body, column(kind)), by_mlflow(body, column(kind)))


@pytest.mark.parametrize("form", ["instances", "inputs"])
@pytest.mark.parametrize(
    ("kind", "values"),
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
def test_values_of_one_column(form: str, kind: DataType, values: list[Any]) -> None:
    """`instances` and `inputs` take a bare list for a single column, named or not, and columns by name."""
    for schema in (column(kind), columns((kind, None))):
        assert_frame_equal(data({form: values}, schema), by_mlflow({form: values}, schema))
        assert_frame_equal(
            data({form: values[0]}, columns((kind, None))), data({form: values[:1]}, columns((kind, None)))
        )
    named = {form: {"x": values}}
    assert_frame_equal(data(named, column(kind)), by_mlflow(named, column(kind)))


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
    """Every form gives MLflow's frame: the signature's columns in its order, the body's index."""
    assert_frame_equal(data(body, MIXED), by_mlflow(body, MIXED))


@pytest.mark.parametrize("dtype", ["float64", "int64", "int32", "bool", "float32"])
def test_columns_of_one_dtype(dtype: str) -> None:
    """The frame made of one array is the one made of columns, and takes an index."""
    example = pd.DataFrame(np.eye(3).astype(dtype), columns=["a", "b", "c"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of integers that cannot be missing
        inputs = infer_signature(example).inputs
    rows = example.to_numpy().tolist()
    body = {"dataframe_split": {"columns": ["c", "a", "b"], "data": rows, "index": [5, 6, 7]}}
    made = data(body, inputs, enforced=False)
    assert_frame_equal(made, by_mlflow(body, inputs))
    assert list(made.columns) == ["a", "b", "c"]


def test_nameless_columns_keep_the_bodys_names() -> None:
    """A signature without names is matched by position; the frame has the names that the body gives."""
    schema = columns((DataType.long, None), (DataType.string, None))
    for names in (["p", "q"], [0, 1], None):
        body = {"dataframe_split": {"columns": names, "data": [[1, "a"], [2, "b"]]}}
        assert_frame_equal(data(body, schema), by_mlflow(body, schema))


def test_optional_columns() -> None:
    """Absent stays absent; nulls alone stay where the type holds null, else the column is left out."""
    schema = Schema(
        [
            ColSpec(DataType.double, "a"),
            ColSpec(DataType.double, "b", required=False),
            ColSpec(DataType.long, "c", required=False),
        ]
    )
    for record in ({"a": 1.5}, {"a": 1.5, "b": 2.5, "c": 3}, {"a": 1.5, "b": None}):
        body = {"dataframe_records": [record]}
        assert_frame_equal(data(body, schema), by_mlflow(body, schema))
    assert list(data({"dataframe_records": [{"a": 1.5, "b": None, "c": None}]}, schema)) == ["a", "b"]


def test_lists_in_a_single_column() -> None:
    """`instances` of lists are the rows of a column of lists; one flat list is one row, as in MLflow."""
    schema = column(Array(DataType.long))
    assert data({"instances": [[1, 2], [3]]}, schema)["x"].tolist() == [[1, 2], [3]]
    assert data({"inputs": {"x": [1, 2]}}, schema)["x"].tolist() == [[1, 2]]
    assert data({"inputs": [1, 2]}, schema)["x"].tolist() == [[1, 2]]


def test_objects_in_a_nameless_column() -> None:
    """A nameless column of objects takes them whole."""
    assert data({"inputs": [{"k": 1}, {"k": 2}]}, columns((ITEM, None)))[0].tolist() == [{"k": 1}, {"k": 2}]


DAY, HOUR = pd.Timestamp("2024-01-02"), pd.Timedelta("1h")

# What MLflow refuses or changes, and what is made of it here.
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
    ("kind", "sent", "got"), [case[1:] for case in BETTER], ids=[case[0] for case in BETTER]
)
def test_what_loses_nothing_is_done(kind: Any, sent: list[Any], got: list[Any]) -> None:
    """Where MLflow refuses or rounds, the exact value goes through MLflow's own check and arrives."""
    cells = [
        cell.tolist() if isinstance(cell, np.ndarray) else cell
        for cell in data(split(sent), column(kind))["x"]
    ]
    assert cells == got


def test_a_signature_that_could_not_be_inferred() -> None:
    """MLflow's default, one nameless column of anything, takes what it is given whole and drops no column."""
    schema = columns((AnyType(), None))
    assert data({"inputs": [{"a": 1}, [2, 3], "x"]}, schema)[0].tolist() == [{"a": 1}, [2, 3], "x"]
    assert "takes 1 column;" in str(refused({"dataframe_split": {"data": [[1, 2]]}}, schema))


def test_without_signature() -> None:
    """Values are as pandas and numpy take them, unless that would change one: then they are objects."""
    body = {"dataframe_split": {"columns": ["a", "b"], "data": [[1, "x"], [2, "y"]]}}
    assert_frame_equal(data(body, None), by_mlflow(body, None))
    indexed = {"dataframe_split": {"columns": ["a"], "index": ["p"], "data": [[1]]}}
    assert_frame_equal(data(indexed, None), by_mlflow(indexed, None))
    made = read(split([2**53 + 1, 0.5]), None).data
    assert made["x"].tolist() == [2**53 + 1, 0.5]
    assert read({"inputs": [1, "a"]}, None).data.tolist() == [1, "a"]
    assert read({"inputs": [2**53 + 1, 0.5]}, None).data.tolist() == [2**53 + 1, 0.5]
    forms: list[dict[str, Any]] = [
        {"inputs": [[1, 2], [3, 4]]},
        {"inputs": {"a": [1.5], "b": "x"}},
        {"instances": [{"a": 1}, {"a": 2}]},
        {"inputs": [{"a": 1}, {"b": [2]}]},
    ]
    for form in forms:
        mine, theirs = data(form, None), by_mlflow(form, None)
        np.testing.assert_equal(mine, theirs)
        assert str(mine) == str(theirs)
    assert refused({"instances": [{"a": 1}, {"b": 2}]}, None).details[0].row == 1
    assert "no array" in str(refused({"inputs": [[1], [1, 2]]}, None))
