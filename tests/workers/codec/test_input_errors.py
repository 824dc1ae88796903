"""What a signature does not allow is refused, with column, row and reason and without the value."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Map, Object, Property, Schema

from tests.support.codec.plans import MIXED, SENTINEL, column, columns, encoded, read, refused, split

ITEM = Object([Property("k", DataType.long), Property("note", DataType.string, required=False)])

# Type, a value that MLflow or the replaced service changes silently (FACTS §3.7, §7), the reason.
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
    ("kind", "value", "reason"), CHANGED, ids=[f"{kind}-{value}" for kind, value, _ in CHANGED]
)
def test_no_value_is_changed_silently(kind: Any, value: Any, reason: str) -> None:
    """The second row is refused by column, row and reason, in a table and as an object per row."""
    good = {
        DataType.string: "a",
        DataType.boolean: True,
        DataType.datetime: "2024-01-01",
        DataType.binary: "",
    }
    first: Any = good.get(kind, 1) if isinstance(kind, DataType) else {"k": 1} if kind is ITEM else None
    if first is None:
        first = [] if isinstance(kind, Array) else {"b": ""} if isinstance(kind, Object) else {}
    for body in (split([first, value]), {"instances": [{"x": first}, {"x": value}]}):
        error = refused(body, column(kind))
        (cell,) = error.details
        assert (cell.row, cell.column) == (1, "x")
        assert reason in cell.reason
        assert "column 'x', row 1" in str(error)


def test_integers_beside_decimals_in_a_column_of_anything() -> None:
    """MLflow lets pandas infer such a column, which would round the integer."""
    (cell,) = refused(split([0.5, 2**53 + 1]), column(AnyType())).details
    assert (cell.row, cell.column) == (1, "x")


@pytest.mark.parametrize(
    ("kind", "value"),
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
def test_the_value_is_never_echoed(kind: Any, value: Any) -> None:
    """Neither the message nor the details repeat what the caller sent."""
    assert refused(split([value]), column(kind)).details
    refused({"inputs": {"x": value}}, column(kind))
    refused({"instances": [{"x": value}]}, column(kind))


def test_unknown_and_missing_columns() -> None:
    """Both are named; nothing is dropped."""
    error = refused({"dataframe_records": [{"x": 1, "extra": SENTINEL}]}, column(DataType.long))
    assert [(cell.row, cell.column, cell.reason) for cell in error.details] == [
        (None, "extra", "not a column of the signature")
    ]
    missing = refused({"dataframe_records": [{}]}, column(DataType.long)).details
    assert [(cell.column, cell.reason) for cell in missing] == [("x", "missing")]
    schema = columns((DataType.long, None), (DataType.long, None))
    for rows in ([[1, 2, 3]], [[1]]):
        assert "takes 2 columns" in str(refused({"dataframe_split": {"data": rows}}, schema))


def test_five_cells_are_named_and_the_rest_counted() -> None:
    """The first five by row, over all columns; the message says how many more there are."""
    row = [SENTINEL, 1.0, "a", SENTINEL, "2024-01-01"]
    body = {"dataframe_split": {"columns": ["count", "size", "name", "open", "since"], "data": [row] * 4}}
    error = refused(body, MIXED)
    assert [(cell.row, cell.column) for cell in error.details] == [
        (0, "count"), (0, "open"), (1, "count"), (1, "open"), (2, "count")
    ]  # fmt: skip
    assert "3 more" in str(error)


def test_long_names_are_cut() -> None:
    """A name that the caller chose cannot fill the answer."""
    error = refused({"dataframe_records": [{"y" * 10_000: 1}]}, column(DataType.long))
    assert len(str(error)) < 1000
    assert max(len(str(cell.column)) for cell in error.details) == 100


def test_numbers_of_the_replaced_service() -> None:
    """Its bug 9: 1.9 became 1 and "2" became 2. Here neither does, in any of its bodies."""
    for value in (1.9, "2"):
        for body in (
            {"columns": ["x"], "data": [[value]]},
            {"record": [{"x": value}], "format": "pandas_record"},
            [{"x": value}],
            {"instances": [{"x": value}], "format": "tf-instances"},
            {"inputs": {"x": [value]}, "format": "tf-inputs"},
        ):
            assert refused(body, column(DataType.long)).details[0].column == "x"
    assert read([{"x": 1.9}], column(DataType.double)).data["x"].tolist() == [1.9]
    assert read([{"x": "2"}], column(DataType.string)).data["x"].tolist() == ["2"]


def test_optional_numbers_have_no_gaps() -> None:
    """Null beside values in an optional long is refused: MLflow's own check could not pass it on."""
    schema = Schema([ColSpec(DataType.long, "x", required=False)])
    assert refused(split([1, None]), schema).details[0].row == 1


@pytest.mark.parametrize(
    "number", [b"18446744073709551617", b"-9223372036854775809", b"1" + b"0" * 25 + b"1"]
)
def test_wide_integers_are_not_rounded_by_the_parser(number: bytes) -> None:
    """An integer beyond 64 bits is exact to the check, wherever in the body it stands."""
    for body in (b'{"inputs":[%s]}', b'{"inputs":{"x":\n%s}}', b'{"dataframe_records":[{"x": %s}]}'):
        assert "exactly" in str(refused(body % number, column(DataType.double)))
    exact = read(b'{"inputs":[%s]}' % number, None).data.tolist()
    assert exact == [int(number)]
    assert encoded(exact) == b"[%s]" % number
