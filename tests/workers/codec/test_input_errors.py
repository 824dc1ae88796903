"""Values that a signature does not allow are rejected with column, row and reason, without the value."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Map, Object, Property, Schema

from tests.support.codec.specs import (
    MIXED,
    SENTINEL,
    column,
    columns,
    decode,
    decode_error,
    json_body,
    split_body,
)

ITEM = Object([Property("k", DataType.long), Property("note", DataType.string, required=False)])

# Type, a value that MLflow or the replaced service changes silently, the reason.
CHANGED: list[tuple[Any, Any, str]] = [
    (DataType.long, 1.9, "fraction"),
    (DataType.long, "2", "not a number"),
    (DataType.long, True, "not a number"),
    (DataType.long, None, "null"),
    (DataType.long, 2**63, "beyond the range of a long (64 bits)"),
    (DataType.long, 2**64 + 1, "beyond the range of a long (64 bits)"),
    (DataType.long, 2.0**52, "2^52"),
    (DataType.long, -(2.0**52), "2^52"),
    (DataType.integer, 3_000_000_000, "beyond the range of an integer (32 bits)"),
    (DataType.integer, 2.7, "fraction"),
    (DataType.integer, None, "null"),
    (DataType.boolean, "false", "not a boolean"),
    (DataType.boolean, 1, "not a boolean"),
    (DataType.boolean, None, "null"),
    (DataType.string, 5, "not a string"),
    (DataType.string, True, "not a string"),
    (DataType.double, "1.5", "not a number"),
    (DataType.double, True, "not a number"),
    (DataType.double, 2**53 + 1, "cannot hold exactly"),
    (DataType.double, 2**64 + 1, "cannot hold exactly"),
    (DataType.double, -(2**63) - 1, "cannot hold exactly"),
    (DataType.float, 1e39, "beyond the range of a float"),
    (DataType.float, 3.5e38, "beyond the range of a float"),
    (DataType.float, 2**53 + 1, "cannot hold exactly"),
    (DataType.datetime, 1704164645, "ISO 8601"),
    (DataType.datetime, "yesterday", "ISO 8601"),
    (DataType.datetime, "2024-02-30", "exists"),
    (DataType.datetime, "0001-01-01", "1677"),
    (DataType.datetime, "2024-01-01T00:00:00.1234567891", "ISO 8601"),
    (DataType.binary, "not base64!", "base64"),
    (DataType.binary, 5, "base64"),
    (Array(DataType.long), [1, 2.7], "at [1]: has a fraction"),
    (Array(DataType.boolean), [True, None], "at [1]: null"),
    (Array(DataType.boolean), ["false"], "at [0]: not a boolean"),
    (Array(DataType.string), ["a", 5], "at [1]: not a string"),
    (Array(DataType.string), ["a", None], "at [1]: not a string"),
    (Array(DataType.string), ["a\0"], "NUL"),
    (Array(DataType.binary), ["aGk=", "?"], "at [1]: not base64"),
    (Array(DataType.binary), ["aGk=", None], "at [1]: null"),
    (Array(DataType.binary), ["aGkA"], "at [0]: ends in a NUL byte"),
    (Object([Property("b", DataType.binary)]), {"b": "aGk"}, "at b: not base64"),
    (Array(DataType.double), [0.5, 2**53 + 1], "at [1]: an integer that a double cannot hold exactly"),
    (Array(DataType.long), 5, "not a list"),
    (ITEM, {"k": "2"}, "at k: not a number"),
    (ITEM, {"note": "n"}, "lacks 'k'"),
    (ITEM, {"k": 1, "other": 2}, "does not know"),
    (ITEM, [1], "not an object"),
    (Map(Array(DataType.long)), {"a": [1.5]}, "at *[0]: has a fraction"),
    (Map(DataType.long), [1], "not an object"),
]


@pytest.mark.parametrize(
    ("mlflow_type", "value", "reason"),
    CHANGED,
    ids=[f"{mlflow_type}-{value}" for mlflow_type, value, _ in CHANGED],
)
def test_no_value_is_changed_silently(mlflow_type: Any, value: Any, reason: str) -> None:
    """The error has the column, row and reason of the second row, in a table and in records."""
    by_type = {
        DataType.string: "a",
        DataType.boolean: True,
        DataType.datetime: "2024-01-01",
        DataType.binary: "",
    }
    valid: Any = (
        by_type.get(mlflow_type, 1)
        if isinstance(mlflow_type, DataType)
        else {"k": 1}
        if mlflow_type is ITEM
        else None
    )
    if valid is None:
        valid = [] if isinstance(mlflow_type, Array) else {"b": ""} if isinstance(mlflow_type, Object) else {}
    for body in (split_body([valid, value]), {"instances": [{"x": valid}, {"x": value}]}):
        error = decode_error(body, column(mlflow_type))
        (problem,) = error.details
        assert (problem.row, problem.column) == (1, "x")
        assert reason in problem.reason
        assert "column 'x', row 1" in str(error)


def test_integers_beside_decimals_in_a_column_of_anything() -> None:
    """An integer that pandas would round beside a decimal is rejected: MLflow lets pandas infer the type."""
    (problem,) = decode_error(split_body([0.5, 2**53 + 1]), column(AnyType())).details
    assert (problem.row, problem.column) == (1, "x")


@pytest.mark.parametrize(
    ("mlflow_type", "value"),
    [
        (DataType.long, SENTINEL),
        (DataType.double, SENTINEL),
        (DataType.datetime, SENTINEL),
        (DataType.boolean, SENTINEL),
        (DataType.string, {SENTINEL: 1}),
        (DataType.binary, SENTINEL),
        (Array(DataType.long), [SENTINEL]),
        (ITEM, {"k": 1, SENTINEL: 1}),
        (Map(DataType.long), {SENTINEL: SENTINEL}),
    ],
)
def test_the_value_is_never_echoed(mlflow_type: Any, value: Any) -> None:
    """Neither the message nor the details repeat a value of the client."""
    assert decode_error(split_body([value]), column(mlflow_type)).details
    decode_error({"inputs": {"x": value}}, column(mlflow_type))
    decode_error({"instances": [{"x": value}]}, column(mlflow_type))


def test_unknown_and_missing_columns() -> None:
    """The error names unknown and missing columns; no column is dropped."""
    error = decode_error({"dataframe_records": [{"x": 1, "extra": SENTINEL}]}, column(DataType.long))
    assert [(problem.row, problem.column, problem.reason) for problem in error.details] == [
        (None, "extra", "not a column of the signature")
    ]
    missing = decode_error({"dataframe_records": [{}]}, column(DataType.long)).details
    assert [(problem.column, problem.reason) for problem in missing] == [("x", "missing")]
    schema = columns((DataType.long, None), (DataType.long, None))
    for rows in ([[1, 2, 3]], [[1]]):
        assert "takes 2 columns" in str(decode_error({"dataframe_split": {"data": rows}}, schema))


def test_five_cells_are_named_and_the_others_counted() -> None:
    """The details have the first five cells by row over all columns; the message counts the others."""
    row = [SENTINEL, 1.0, "a", SENTINEL, "2024-01-01"]
    body = {"dataframe_split": {"columns": ["count", "size", "name", "open", "since"], "data": [row] * 4}}
    error = decode_error(body, MIXED)
    assert [(problem.row, problem.column) for problem in error.details] == [
        (0, "count"), (0, "open"), (1, "count"), (1, "open"), (2, "count")
    ]  # fmt: skip
    assert "3 more" in str(error)


def test_long_names_are_cut() -> None:
    """A long name that the client chose is cut in the message and the details."""
    error = decode_error({"dataframe_records": [{"y" * 10_000: 1}]}, column(DataType.long))
    assert len(str(error)) < 1000
    assert max(len(str(problem.column)) for problem in error.details) == 100


def test_numbers_of_the_replaced_service() -> None:
    """Bug 9 of the replaced service: 1.9 became 1 and "2" became 2. All its bodies keep both values."""
    for value in (1.9, "2"):
        for body in (
            {"columns": ["x"], "data": [[value]]},
            {"record": [{"x": value}], "format": "pandas_record"},
            [{"x": value}],
            {"instances": [{"x": value}], "format": "tf-instances"},
            {"inputs": {"x": [value]}, "format": "tf-inputs"},
        ):
            assert decode_error(body, column(DataType.long)).details[0].column == "x"
    assert decode([{"x": 1.9}], column(DataType.double)).data["x"].tolist() == [1.9]
    assert decode([{"x": "2"}], column(DataType.string)).data["x"].tolist() == ["2"]


def test_optional_integers_with_nulls_are_rejected() -> None:
    """A null beside values in an optional long is rejected, since MLflow's own check would reject it."""
    schema = Schema([ColSpec(DataType.long, "x", required=False)])
    assert decode_error(split_body([1, None]), schema).details[0].row == 1


@pytest.mark.parametrize(
    "number", [b"18446744073709551617", b"-9223372036854775809", b"1" + b"0" * 25 + b"1"]
)
def test_wide_integers_are_not_rounded_by_the_parser(number: bytes) -> None:
    """An integer beyond 64 bits is exact everywhere in the body."""
    for body in (b'{"inputs":[%s]}', b'{"inputs":{"x":\n%s}}', b'{"dataframe_records":[{"x": %s}]}'):
        assert "exactly" in str(decode_error(body % number, column(DataType.double)))
    exact = decode(b'{"inputs":[%s]}' % number, None).data.tolist()
    assert exact == [int(number)]
    assert json_body(exact) == b"[%s]" % number
