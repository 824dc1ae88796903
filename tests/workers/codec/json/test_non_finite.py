"""NaN, Infinity and -Infinity, as Python's encoder writes them: taken where the type can hold them."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from mlflow.types.schema import AnyType, Array, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from tests.support.codec import v2_bodies
from tests.support.codec.specs import (
    column,
    columns,
    decode,
    decode_error,
    input_spec,
    mlflow_input,
    model_input,
    split_body,
)
from workers.codec.json import text
from workers.codec.json.rows import parse_rows
from workers.errors import InvalidInput
from workers.protocol.messages import Job

if TYPE_CHECKING:
    from collections.abc import Callable

NAN, INF = math.nan, math.inf
CELLS = [1.5, NAN, INF, -INF]
FORMS: dict[str, Callable[[list[Any]], Any]] = {
    "split": split_body,
    "records": lambda cells: {"dataframe_records": [{"x": cell} for cell in cells]},
    "instances": lambda cells: {"instances": [{"x": cell} for cell in cells]},
    "inputs": lambda cells: {"inputs": {"x": cells}},
    "legacy": lambda cells: {"columns": ["x"], "data": [[cell] for cell in cells]},
    "a list": lambda cells: [{"x": cell} for cell in cells],
}
LEGACY = {"legacy", "a list"}
NOT_FLOATS = [
    (DataType.long, "NaN or infinite, which a long cannot be"),
    (DataType.integer, "NaN or infinite, which an integer cannot be"),
    (DataType.boolean, "not a boolean"),
    (DataType.string, "not a string"),
    (DataType.binary, "not a string of base64"),
    (DataType.datetime, "not an ISO 8601"),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [DataType.double, DataType.float])
def test_columns_of_floats(form: str, kind: DataType) -> None:
    """They reach the model as they are, in each form, as in MLflow."""
    body = FORMS[form](CELLS)
    frame = model_input(body, column(kind))
    assert frame["x"].dtype == kind.to_numpy()
    np.testing.assert_array_equal(frame["x"].to_numpy(), np.array(CELLS, kind.to_numpy()))
    if form not in LEGACY:
        pd.testing.assert_frame_equal(frame, mlflow_input(body, column(kind)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cell", [NAN, INF, -INF])
@pytest.mark.parametrize(("kind", "reason"), NOT_FLOATS)
def test_columns_of_other_types(form: str, cell: float, kind: DataType, reason: str) -> None:
    """They are rejected with row and column."""
    fitting = {DataType.boolean: True, DataType.string: "a", DataType.binary: "YQ=="}.get(kind, 1)
    fitting = "2024-01-01" if kind == DataType.datetime else fitting
    error = decode_error(FORMS[form]([fitting, cell]), column(kind))
    assert [(problem.row, problem.column) for problem in error.details] == [(1, "x")]
    assert reason in error.details[0].reason


def test_a_number_beyond_a_float_beside_an_infinity() -> None:
    """Only what would become infinite is rejected."""
    error = decode_error(split_body([INF, 1e300]), column(DataType.float))
    assert [problem.row for problem in error.details] == [1]


def test_values_of_any_type_and_in_lists() -> None:
    """Columns of any type keep them, lists of doubles too; lists of longs reject them."""
    assert model_input(split_body([NAN, INF]), column(AnyType()))["x"].tolist()[1] == INF
    doubles = model_input(split_body([[1.5, NAN, -INF]]), column(Array(DataType.double)))["x"][0]
    np.testing.assert_array_equal(doubles, [1.5, NAN, -INF])
    error = decode_error(split_body([[1, INF]]), column(Array(DataType.long)))
    assert "[1]: NaN or infinite" in error.details[0].reason


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tensors(dtype: str) -> None:
    """Tensors of floats hold them; others reject them with their row."""
    schema = Schema([TensorSpec(np.dtype(dtype), (-1, 2))])
    array = model_input({"inputs": [[1, NAN], [INF, -INF]]}, schema)
    np.testing.assert_array_equal(array, np.array([[1, NAN], [INF, -INF]], dtype))
    error = decode_error({"inputs": [[1, 2], [NAN, 3]]}, Schema([TensorSpec(np.dtype("int64"), (-1, 2))]))
    assert error.details[0].row == 1


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": [1.5, NAN]},
        {"instances": [[INF, 1.0], [NAN, -INF]]},
        {"inputs": {"a": [NAN, 1.5]}},
        {"instances": [{"a": NAN}, {"a": 2.5}]},
        {"dataframe_split": {"columns": ["a"], "data": [[NAN], [1.5]]}},
        {"dataframe_records": [{"a": INF}, {"a": 1.5}]},
    ],
    ids=json.dumps,
)
def test_without_signature(body: dict[str, Any]) -> None:
    """The model gets what MLflow's server gives it: doubles."""
    ours, theirs = model_input(body, None), mlflow_input(body, None)
    if isinstance(theirs, pd.DataFrame):
        pd.testing.assert_frame_equal(ours, theirs)
        return
    pairs = zip(ours.values(), theirs.values(), strict=True) if isinstance(ours, dict) else [(ours, theirs)]
    for mine, their in pairs:
        assert mine.dtype == their.dtype
        np.testing.assert_array_equal(mine, their)


def test_a_unified_llm_body() -> None:
    """The document reaches the model as it is."""
    data = decode({"messages": [], "scores": [NAN, INF]}, None).data
    assert math.isnan(data["scores"][0])
    assert data["scores"][1] == INF


def test_params() -> None:
    """A double takes them, a long does not."""
    schema = ParamSchema([ParamSpec("p", DataType.double, 0.5), ParamSpec("n", DataType.long, 1)])
    body = split_body([1.5])
    taken = decode({**body, "params": {"p": -INF}}, column(DataType.double), params=schema)
    assert taken.params == {"p": -INF}
    error = decode_error({**body, "params": {"n": NAN}}, column(DataType.double), params=schema)
    assert "NaN or infinite" in error.details[0].reason


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_open_inference(datatype: str) -> None:
    """Tensors of floats take them in JSON."""
    array = v2_bodies.model_input(v2_bodies.tensor("x", datatype, CELLS), schema=None)
    np.testing.assert_array_equal(array, CELLS)


@pytest.mark.parametrize("datatype", ["INT64", "UINT8", "BOOL", "BYTES"])
def test_open_inference_of_other_datatypes(datatype: str) -> None:
    """Other tensors reject them with their row."""
    with pytest.raises(InvalidInput) as caught:
        v2_bodies.model_input(v2_bodies.tensor("x", datatype, [INF]), schema=None)
    assert [(problem.row, problem.column) for problem in caught.value.details] == [(0, "x")]


def test_rows_of_several_requests() -> None:
    """A body with such a number can share a call with others."""
    parsed = parse_rows(Job(b'{"dataframe_split":{"columns":["a"],"data":[[NaN]]}}'), input_spec(DOUBLE_A))
    assert parsed is not None
    assert math.isnan(parsed.rows[0][0])


DOUBLE_A = columns((DataType.double, "a"))


@pytest.mark.parametrize(
    "other",
    [
        b"1e400",
        b"-1e999",
        b"1" * 400,
        b"1" * 5000,
        b'"\\ud800"',
        b'"\xff"',
        b'"\x01"',
        b"[" * 1100 + b"]" * 1100,
        b"'a'",
        b"01",
        b"1.",
        b"[1,]",
        b"",
    ],
    ids=lambda other: repr(other[:12]),
)
def test_nothing_else_is_taken_beside_them(other: bytes) -> None:
    """What orjson rejects is rejected beside NaN too, although Python's parser takes some of it."""
    for document in (b"[%b]", b"[NaN,%b]", b"[-Infinity,%b]"):
        if other or document != b"[%b]":
            with pytest.raises(InvalidInput):
                text.parse_json(document % other)


@pytest.mark.parametrize(
    "other",
    [
        b"18446744073709551617",
        b"-9223372036854775809",
        b"-0",
        b"-0.0",
        b"1e308",
        b"0.1",
        b'{"a":1,"a":2}',
        b'"NaN \\" Infinity\\\\"',
        b'"\\u00e9\\ud83d\\ude00"',
        b'{"NaN":"-Infinity"}',
        b" \t\r\n null",
    ],
)
def test_the_rest_of_the_body_is_the_same(other: bytes) -> None:
    """What stands beside NaN has the value that it has alone."""
    alone: Any = text.parse_json(b"[%b]" % other)
    beside: Any = text.parse_json(b"[%b,NaN]" % other)
    assert repr(beside[:1]) == repr(alone)


def test_the_error_names_the_position() -> None:
    """It is that of the client's body."""
    with pytest.raises(InvalidInput, match=r"column 16"):
        text.parse_json(b"[NaN,-Infinity,x]")


def test_quotes_that_do_not_end_take_linear_time() -> None:
    """A million escaped quotes without an end are scanned once; a scan from each would take hours."""
    with pytest.raises(InvalidInput):
        text.parse_json(b"[NaN," + b'"' + b'\\"' * 1_000_000)
    with pytest.raises(InvalidInput):
        text.parse_json(b"NaN" * 1_000_000)
