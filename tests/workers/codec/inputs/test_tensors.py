"""Tensor signatures: arrays of the signature's dtype and shape, named or not, from every form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mlflow.types.schema import Schema, TensorSpec

from tests.support.codec.plans import SENTINEL, by_mlflow, data, refused


def tensor(dtype: str, shape: tuple[int, ...], name: str | None = None) -> TensorSpec:
    return TensorSpec(np.dtype(dtype), shape, name)


ONE = Schema([tensor("float64", (-1, 2))])
TWO = Schema([tensor("float32", (-1, 2), "a"), tensor("int64", (-1,), "b")])


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("float64", [[1.5, 2], [3, 2**53]]),
        ("float32", [[0.1, 2], [3, 4]]),
        ("float16", [[0.1, 2]]),
        ("float64", [[None, 1.5]]),
        ("int64", [[2**63 - 1, -(2**63)]]),
        ("uint64", [[2**64 - 1, 0]]),
        ("int8", [[-128, 127]]),
        ("uint8", [[0, 255]]),
        ("bool", [[True, False]]),
        ("str", [["a", "wörld"]]),
        ("bytes", [["a", "bc"]]),
        ("object", [["a", "b"]]),
        ("datetime64[ns]", [["2024-01-02", "2024-01-02T03:04:05"]]),
    ],
)
@pytest.mark.parametrize("form", ["inputs", "instances"])
def test_every_dtype_is_as_mlflow_makes_it(form: str, dtype: str, values: list[Any]) -> None:
    """Values, dtype and shape; -1 stands for any length."""
    schema = Schema([tensor(dtype, (-1, 2))])
    mine, theirs = data({form: values}, schema), by_mlflow({form: values}, schema)
    assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
    np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": {"a": [[1, 2], [3, 4]], "b": [5, 6]}},
        {"instances": {"a": [[1, 2], [3, 4]], "b": [5, 6]}},
        {"instances": [{"a": [1, 2], "b": 5}, {"b": 6, "a": [3, 4]}]},
        {"dataframe_split": {"columns": ["b", "a"], "data": [[5, [1, 2]], [6, [3, 4]]]}},
        {"dataframe_records": [{"a": [1, 2], "b": 5}, {"a": [3, 4], "b": 6}]},
    ],
)
def test_named_tensors(body: dict[str, Any]) -> None:
    """One array per name, from columns, rows and tables."""
    mine, theirs = data(body, TWO), by_mlflow(body, TWO)
    assert list(mine) == ["a", "b"]
    for name in mine:
        assert mine[name].dtype == theirs[name].dtype
        np.testing.assert_array_equal(mine[name], theirs[name])


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        ((-1, 2), {"dataframe_split": {"columns": ["p", "q"], "data": [[1.5, 2.5], [3.5, 4.5]]}}),
        ((-1,), {"dataframe_split": {"columns": ["p"], "data": [[1.5], [2.5]]}}),
        ((-1, 1), {"dataframe_split": {"data": [[1.5], [2.5]]}}),
        ((-1, 2, 3), {"dataframe_records": [{"p": [1.5, 2, 3, 4, 5, 6]}, {"p": [0, 0, 0, 0, 0, 0]}]}),
    ],
)
def test_tables_for_one_nameless_tensor(shape: tuple[int, ...], body: dict[str, Any]) -> None:
    """Rows of scalars, or one column of flat lists folded into the shape, as MLflow folds them."""
    schema = Schema([tensor("float64", shape)])
    np.testing.assert_array_equal(data(body, schema), by_mlflow(body, schema))


@pytest.mark.parametrize(
    ("dtype", "bad"),
    [
        ("int64", 2.7),
        ("int64", True),
        ("int64", "2"),
        ("int64", None),
        ("int8", 128),
        ("uint8", -1),
        ("int64", 2**63),
        ("float64", "1.5"),
        ("float64", True),
        ("float64", 2**53 + 1),
        ("float32", 1e39),
        ("float16", 70_000),
        ("bool", 1),
        ("str", 5),
        ("str", None),
        ("str", "a\0"),
        ("datetime64[ns]", 5),
        ("float64", SENTINEL),
    ],
)
def test_no_value_is_changed(dtype: str, bad: Any) -> None:
    """The row of the first dimension and the tensor's name are told, whatever stands beside the value."""
    good: Any = {"str": "a", "bool": True, "datetime64[ns]": "2024-01-01"}.get(dtype, 1)
    schema = Schema([tensor(dtype, (-1, 2), "t")])
    for body in ({"inputs": {"t": [[good, good], [good, bad]]}}, {"inputs": [[good, good], [good, bad]]}):
        error = refused(body, schema)
        assert error.details[0].row == 1
    refused({"inputs": {"t": [[0.5, bad]]}}, schema)


@pytest.mark.parametrize(
    "payload",
    [
        [[1, 2], [3]],
        [[1, [2]]],
        [1, 2],
        [[1, 2, 3]],
        [[[1, 2]]],
        5,
        None,
        "x",
        {},
        {"a": 1},
        [{}],
        [{"a": 1}, {"b": 1}],
    ],
)
def test_other_shapes_are_refused(payload: Any) -> None:
    """Ragged, too deep, too flat or no array at all."""
    for form in ("inputs", "instances"):
        refused({form: payload}, ONE)


def test_a_shape_is_told() -> None:
    """What was sent and what is wanted."""
    assert "(1, 3), where (-1, 2)" in str(refused({"inputs": [[1, 2, 3]]}, ONE))


def test_names_are_told() -> None:
    """A tensor that the signature does not know, and one that is missing."""
    error = refused({"inputs": {"a": [[1, 2]], "c": [1]}}, TWO)
    assert {(cell.column, cell.reason) for cell in error.details} == {
        ("c", "not an input of the signature"),
        ("b", "missing"),
    }
    assert "one array per input" in str(refused({"inputs": [[1, 2]]}, TWO))


def test_a_dtype_without_json_form() -> None:
    """Complex numbers have none."""
    assert "complex64" in str(refused({"inputs": [1]}, Schema([tensor("complex64", (-1,))])))
    assert "ASCII" in str(refused({"inputs": ["é"]}, Schema([tensor("bytes", (-1,))])))
