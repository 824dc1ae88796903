"""Values that numpy, pandas or JSON would change stay as they are, or are rejected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.types.schema import DataType, Schema, TensorSpec

from tests.support.codec.specs import column, decode_error, model_input
from tests.support.codec.v2_bodies import encoded_json
from workers.codec.json.answer import to_json
from workers.errors import ModelError

INEXACT = 2**53 + 1


@pytest.mark.parametrize("schema", [None, column(DataType.double)])
@pytest.mark.parametrize("index", [[INEXACT, 0.5], [INEXACT, None]])
def test_the_index_is_not_rounded(schema: Schema | None, index: list[Any]) -> None:
    """Row labels that no one dtype holds exactly become objects."""
    actual = model_input(
        {"dataframe_split": {"columns": ["x"], "data": [[1.5], [2.5]], "index": index}}, schema
    )
    assert actual.index.tolist() == index
    assert type(actual.index[0]) is int


def test_columns_of_one_name_as_text() -> None:
    """Tensor names are text, so 1 and "1" are duplicates."""
    body = {"dataframe_split": {"columns": [1, "1"], "data": [[1.5, 2.5]]}}
    error = decode_error(body, Schema([TensorSpec(np.dtype("float64"), (-1,), "1")]))
    assert "one column twice" in str(error)


@pytest.mark.parametrize("values", [[1, True, 0.5], [True, 0], [0.5, False], [[1, True], [0, 1]]])
def test_booleans_among_numbers(values: list[Any]) -> None:
    """Booleans do not become numbers in the array."""
    actual = model_input({"inputs": values}, None)
    assert actual.dtype == object
    assert repr(actual.tolist()) == repr(values)
    assert model_input({"inputs": [True, False]}, None).dtype == bool


@pytest.mark.parametrize(
    "values", [[np.int64(INEXACT), 0.5], [np.uint64(2**63 + 1), np.int64(-1)], [INEXACT, np.float64(0.5)]]
)
def test_integers_that_no_double_holds(values: list[Any]) -> None:
    """Integers, also numpy's, are not rounded beside decimals."""
    assert encoded_json(values)["outputs"][0]["data"] == [to_json(value).decode() for value in values]


def test_masks_in_a_list() -> None:
    """Masked values in a list of arrays are null, as in one array."""
    rows = [np.ma.masked_array([1.5, 2.5], mask=[False, True]), np.ma.masked_array([3.5, 4.5])]
    output = encoded_json(rows)["outputs"][0]
    assert (output["shape"], output["data"]) == (
        [2, 2],
        encoded_json(np.ma.stack(rows))["outputs"][0]["data"],
    )
    assert output["data"][1] in {None, "null"}


@pytest.mark.parametrize(
    ("predictions", "problem"),
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
def test_predictions_without_a_json_form(predictions: Any, problem: str) -> None:
    """The error is the model's and names the reason."""
    with pytest.raises(ModelError, match=problem):
        to_json(predictions)


def test_durations_without_a_json_form_in_tensors() -> None:
    """Open Inference responses raise the same error."""
    with pytest.raises(ModelError, match=r"timedelta64\[Y\]"):
        encoded_json(np.array([1], dtype="timedelta64[Y]"))
