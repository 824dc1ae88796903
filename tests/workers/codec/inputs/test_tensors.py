"""For tensor signatures every form gives arrays of the signature's dtype and shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mlflow.types.schema import Schema, TensorSpec

from tests.support.codec.specs import SENTINEL, decode_error, mlflow_input, model_input


def tensor_spec(dtype: str, shape: tuple[int, ...], name: str | None = None) -> TensorSpec:
    return TensorSpec(np.dtype(dtype), shape, name)


ONE = Schema([tensor_spec("float64", (-1, 2))])
TWO = Schema([tensor_spec("float32", (-1, 2), "a"), tensor_spec("int64", (-1,), "b")])


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
    """Values, dtype and shape are MLflow's; -1 stands for any length."""
    schema = Schema([tensor_spec(dtype, (-1, 2))])
    actual, expected = model_input({form: values}, schema), mlflow_input({form: values}, schema)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(actual, expected)


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
    """Columns, rows and tables give one array per name."""
    actual, expected = model_input(body, TWO), mlflow_input(body, TWO)
    assert list(actual) == ["a", "b"]
    for name in actual:
        assert actual[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(actual[name], expected[name])


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
    """Rows of scalars, and flat lists in one column, are folded into the shape as MLflow does."""
    schema = Schema([tensor_spec("float64", shape)])
    np.testing.assert_array_equal(model_input(body, schema), mlflow_input(body, schema))


@pytest.mark.parametrize(
    ("dtype", "invalid"),
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
def test_no_value_is_changed(dtype: str, invalid: Any) -> None:
    """A value that would change is rejected with its row in the first dimension."""
    valid: Any = {"str": "a", "bool": True, "datetime64[ns]": "2024-01-01"}.get(dtype, 1)
    schema = Schema([tensor_spec(dtype, (-1, 2), "t")])
    for body in (
        {"inputs": {"t": [[valid, valid], [valid, invalid]]}},
        {"inputs": [[valid, valid], [valid, invalid]]},
    ):
        error = decode_error(body, schema)
        assert error.details[0].row == 1
    decode_error({"inputs": {"t": [[0.5, invalid]]}}, schema)


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
def test_other_shapes_are_rejected(payload: Any) -> None:
    """Payloads that are ragged, too deep, too flat or no array are rejected."""
    for form in ("inputs", "instances"):
        decode_error({form: payload}, ONE)


def test_the_error_has_both_shapes() -> None:
    """The message has the shape of the payload and the expected one."""
    assert "(1, 3), expected (-1, 2)" in str(decode_error({"inputs": [[1, 2, 3]]}, ONE))


def test_the_error_names_the_tensors() -> None:
    """The details name unknown and missing tensors."""
    error = decode_error({"inputs": {"a": [[1, 2]], "c": [1]}}, TWO)
    assert {(problem.column, problem.reason) for problem in error.details} == {
        ("c", "not an input of the signature"),
        ("b", "missing"),
    }
    assert "one array per input" in str(decode_error({"inputs": [[1, 2]]}, TWO))


def test_a_dtype_without_json_form() -> None:
    """A dtype that JSON cannot express, such as complex numbers, is rejected by name."""
    assert "complex64" in str(decode_error({"inputs": [1]}, Schema([tensor_spec("complex64", (-1,))])))
    assert "ASCII" in str(decode_error({"inputs": ["é"]}, Schema([tensor_spec("bytes", (-1,))])))
