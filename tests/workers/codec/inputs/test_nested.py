"""Objects, lists and maps in cells pass MLflow's own check, with values and with nulls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from mlflow.types.schema import AnyType, Array, DataType, Map, Object, Property

from tests.support.codec.specs import column, decode, decode_error, model_input, split_body

SENT: dict[str, Any] = {
    "boolean": True,
    "integer": 7,
    "long": 2.0,
    "float": 0.5,
    "double": 2,
    "string": "a",
    "binary": "aGk=",
    "datetime": "2024-01-02T01:00+01:00",
}
RECEIVED = {**SENT, "binary": b"hi", "datetime": pd.Timestamp("2024-01-02")}
EVERY_TYPE = Object([Property(name, DataType[name], required=False) for name in SENT])


def test_every_scalar_in_an_object() -> None:
    """Every scalar type is converted, also those whose JSON values MLflow would reject."""
    assert model_input(split_body([SENT]), column(EVERY_TYPE))["x"].tolist() == [RECEIVED]
    nulls = dict.fromkeys(SENT)
    assert model_input(split_body([nulls, {}]), column(EVERY_TYPE))["x"].tolist() == [nulls, {}]


def test_null_in_a_required_property() -> None:
    """Null in a required double is NaN; in other types it is rejected."""
    cell = model_input(split_body([{"k": None}]), column(Object([Property("k", DataType.double)])))["x"][0]
    assert np.isnan(cell["k"])
    error = decode_error(split_body([{"k": None}]), column(Object([Property("k", DataType.string)])))
    assert "at k: null" in error.details[0].reason


def test_null_for_the_whole_cell() -> None:
    """Cells of optional columns, and lists and maps of any values, can be null."""
    for mlflow_type in (EVERY_TYPE, Array(DataType.long), Map(DataType.long)):
        assert decode(split_body([None]), column(mlflow_type, required=False)).data["x"].tolist() == [None]
        assert decode_error(split_body([None]), column(mlflow_type)).details[0].row == 0
    for mlflow_type in (Array(AnyType()), Map(AnyType())):
        assert model_input(split_body([None]), column(mlflow_type))["x"].tolist() == [None]


def test_bytes_in_cells() -> None:
    """Base64 is decoded; in an object also to bytes that end in NUL."""
    assert model_input(split_body([["aGk=", ""], []]), column(Array(DataType.binary)))["x"].tolist() == [
        [b"hi", b""],
        [],
    ]
    assert model_input(split_body([[["aGk="]]]), column(Array(Array(DataType.binary))))["x"].tolist() == [
        [[b"hi"]]
    ]
    mlflow_type = Object([Property("b", DataType.binary)])
    assert model_input(split_body([{"b": "aGkA"}]), column(mlflow_type))["x"].tolist() == [{"b": b"hi\0"}]


def test_times_in_lists() -> None:
    """Times in lists are converted to UTC, without a zone."""
    (cell,) = model_input(split_body([["2024-01-02T01:00+01:00", None]]), column(Array(DataType.datetime)))[
        "x"
    ]
    assert cell.dtype == "datetime64[ns]"
    assert [pd.Timestamp("2024-01-02"), pd.NaT] == list(map(pd.Timestamp, cell))
