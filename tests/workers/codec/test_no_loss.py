"""Values that numpy, pandas or JSON would take for others stay what they are, or are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.types.schema import DataType, Schema, TensorSpec

from tests.support.codec.plans import column, data, refused
from tests.support.codec.v2_bodies import told
from workers.codec.json.answer import to_json
from workers.errors import ModelError

ODD = 2**53 + 1


@pytest.mark.parametrize("schema", [None, column(DataType.double)])
@pytest.mark.parametrize("index", [[ODD, 0.5], [ODD, None]])
def test_the_index_is_not_rounded(schema: Schema | None, index: list[Any]) -> None:
    """Labels that no one type holds are objects."""
    made = data({"dataframe_split": {"columns": ["x"], "data": [[1.5], [2.5]], "index": index}}, schema)
    assert made.index.tolist() == index
    assert type(made.index[0]) is int


def test_columns_of_one_name_as_text() -> None:
    """A tensor's name is text, so that 1 and "1" are one."""
    body = {"dataframe_split": {"columns": [1, "1"], "data": [[1.5, 2.5]]}}
    error = refused(body, Schema([TensorSpec(np.dtype("float64"), (-1,), "1")]))
    assert "one column twice" in str(error)


@pytest.mark.parametrize("values", [[1, True, 0.5], [True, 0], [0.5, False], [[1, True], [0, 1]]])
def test_booleans_among_numbers(values: list[Any]) -> None:
    """They are no numbers in the array either."""
    made = data({"inputs": values}, None)
    assert made.dtype == object
    assert repr(made.tolist()) == repr(values)
    assert data({"inputs": [True, False]}, None).dtype == bool


@pytest.mark.parametrize(
    "values", [[np.int64(ODD), 0.5], [np.uint64(2**63 + 1), np.int64(-1)], [ODD, np.float64(0.5)]]
)
def test_integers_that_no_double_holds(values: list[Any]) -> None:
    """numpy's own integers are not rounded beside decimals either."""
    assert told(values)["outputs"][0]["data"] == [to_json(value).decode() for value in values]


def test_masks_in_a_list() -> None:
    """What is masked is null, as in one array."""
    rows = [np.ma.masked_array([1.5, 2.5], mask=[False, True]), np.ma.masked_array([3.5, 4.5])]
    output = told(rows)["outputs"][0]
    assert (output["shape"], output["data"]) == ([2, 2], told(np.ma.stack(rows))["outputs"][0]["data"])
    assert output["data"][1] in {None, "null"}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ([10**5000], "more digits"),
        ([{10**5000: 1}], "more digits"),
        (np.array([1], dtype="timedelta64[Y]"), r"timedelta64\[Y\]"),
        ([np.timedelta64(3, "M")], r"timedelta64\[M\]"),
        (np.timedelta64(10**15, "D"), r"timedelta64\[D\]"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns are both named 'a'"),
        (pd.DataFrame([[1, 2]], columns=pd.Index([1, "1"], dtype=object)), "two columns are both named '1'"),
        ({1: "a", "1": "b"}, "two keys of an object are both '1'"),
        ([{"k": {None: 1, "null": 2}}], "two keys of an object are both 'null'"),
    ],
)
def test_answers_without_a_form(answer: Any, problem: str) -> None:
    """The model failed, and is told why."""
    with pytest.raises(ModelError, match=problem):
        to_json(answer)


def test_durations_without_a_form_in_tensors() -> None:
    """The same holds for Open Inference answers."""
    with pytest.raises(ModelError, match=r"timedelta64\[Y\]"):
        told(np.array([1], dtype="timedelta64[Y]"))
