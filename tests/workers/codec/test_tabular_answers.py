"""Predictions in CSV, Parquet and Arrow: every table is encoded, and other predictions are rejected."""

from __future__ import annotations

import datetime
import io
import json
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet
from scipy import sparse

from tests.support.codec.predictions import Colour
from workers.codec import formats
from workers.codec.json.answer import to_json
from workers.codec.request import DecodedRequest
from workers.errors import NotAcceptable
from workers.protocol.messages import ARROW, CSV, PARQUET, Job

NOON = pd.Timestamp("2024-01-02T12:00:00Z")
NAN = float("nan")

# Predictions, their columns, and their CSV.
TABLES: list[tuple[Any, dict[str, list[Any]], str]] = [
    (np.array([1.5, NAN, np.inf]), {"0": [1.5, None, np.inf]}, '0\r\n1.5\r\n""\r\ninf\r\n'),
    (np.array([[1, 2], [3, 4]]), {"0": [1, 3], "1": [2, 4]}, "0,1\r\n1,2\r\n3,4\r\n"),
    (np.array(["a", 'b"']), {"0": ["a", 'b"']}, '0\r\na\r\n"b"""\r\n'),
    ([1, 2], {"0": [1, 2]}, "0\r\n1\r\n2\r\n"),
    (["a,b", None, "c\nd"], {"0": ["a,b", None, "c\nd"]}, '0\r\n"a,b"\r\n""\r\n"c\nd"\r\n'),
    ([True, False], {"0": [True, False]}, "0\r\ntrue\r\nfalse\r\n"),
    ([{"a": 1, "b": "x"}, {"a": 2, "b": None}], {"a": [1, 2], "b": ["x", None]}, "a,b\r\n1,x\r\n2,\r\n"),
    (pd.Series([1, 2], name="p", index=[5, 6]), {"p": [1, 2]}, "p\r\n1\r\n2\r\n"),
    (pd.Series([1]), {"0": [1]}, "0\r\n1\r\n"),
    (pd.DataFrame({"p": [0.1], 3: ["ö"]}), {"p": [0.1], "3": ["ö"]}, "p,3\r\n0.1,ö\r\n"),
    (pd.DataFrame({"t": [NOON], "u": [b"hi"]}), {"t": [NOON], "u": [b"hi"]}, "t,u\r\n2024-01-02T12:00:00+00:00,aGk=\r\n"),  # noqa: E501 - a table
    (pd.DataFrame({"l": [[1, 2]], "d": [Decimal("1.50")]}), {"l": [[1, 2]], "d": [Decimal("1.50")]}, 'l,d\r\n"[1,2]",1.50\r\n'),  # noqa: E501 - a table
    (pd.DataFrame({"a": []}), {"a": []}, "a\r\n"),
    (sparse.csr_matrix([[0, 1]]), {"0": [0], "1": [1]}, "0,1\r\n0,1\r\n"),
]  # fmt: skip


def encode_body(predictions: object, accept: str) -> bytes:
    response = formats.encode(predictions, DecodedRequest(None), Job(b"", accept=accept))
    assert (response.content_type, response.wrapped) == (accept, False)
    return response.body


@pytest.mark.parametrize(("predictions", "columns", "text"), TABLES)
def test_tables(predictions: Any, columns: dict[str, list[Any]], text: str) -> None:
    """Names and values are the model's; its index is left out, as in JSON."""
    assert encode_body(predictions, CSV).decode() == text
    for table in (
        parquet.read_table(pa.BufferReader(encode_body(predictions, PARQUET))),
        ipc.open_stream(encode_body(predictions, ARROW)).read_all(),
    ):
        assert table.schema.metadata is None
        assert [name.decode() if isinstance(name, bytes) else name for name in table.column_names] == list(
            columns
        )
        assert table.to_pydict() == columns


@pytest.mark.parametrize("accept", [CSV, PARQUET, ARROW])
@pytest.mark.parametrize(
    "predictions",
    [
        {"a": 1},
        "text",
        None,
        5,
        np.zeros((2, 2, 2)),
        np.array(5),
        [[1], [2]],
        [{"a": [1]}],
        [{"a": 1}, 2],
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame([[1, 2]], columns=[1, "1"]),
    ],
)
def test_predictions_that_are_no_table(predictions: object, accept: str) -> None:
    """The error says that JSON is available."""
    with pytest.raises(NotAcceptable, match="JSON is available"):
        encode_body(predictions, accept)


@pytest.mark.parametrize("accept", [PARQUET, ARROW])
@pytest.mark.parametrize("cells", [["a", 1], [1j, 2j], [object(), None]])
def test_types_that_arrow_lacks(cells: list[Any], accept: str) -> None:
    """Columns of several types and of types that Arrow lacks raise the same error."""
    with pytest.raises(NotAcceptable, match="JSON is available"):
        encode_body(pd.DataFrame({"x": pd.Series(cells, dtype=object)}), accept)


@pytest.mark.parametrize(
    "label",
    [
        pd.Timestamp("2024-01-02"),
        None,
        True,
        1.5,
        NAN,
        ("a", "b"),
        np.int64(5),
        datetime.date(2024, 1, 2),
        Colour.RED,
    ],
)
def test_names_of_columns(label: object) -> None:
    """A name that is no text has the text of JSON in every format."""
    frame = pd.DataFrame([[1]], columns=pd.Index([label], dtype=object, tupleize_cols=False))
    name = next(iter(json.loads(to_json(frame))[0]))
    assert pd.read_csv(io.BytesIO(encode_body(frame, CSV))).columns.tolist() == [name]
    for accept in (ARROW, PARQUET):
        assert _columns(frame, accept) == {name: [1]}


def test_types_are_kept() -> None:
    """The narrow dtypes of predictions are kept."""
    frame = pd.DataFrame(
        {"f": np.array([0.1], np.float32), "i": np.array([1], np.int8), "d": [datetime.timedelta(1)]}
    )
    table = ipc.open_stream(encode_body(frame, ARROW)).read_all()
    assert [str(kind) for kind in table.schema.types[:2]] == ["float", "int8"]
    assert pa.types.is_duration(table.schema.types[2])


EXACT = 2**53 + 1  # no double is
INTEGERS: list[tuple[Any, list[Any], str]] = [
    ([EXACT, None], [EXACT, None], f'{EXACT}\r\n""\r\n'),
    ([1, None], [1, None], '1\r\n""\r\n'),
    ([1, pd.NA, np.int8(-2)], [1, None, -2], '1\r\n""\r\n-2\r\n'),
    ([np.int64(EXACT), None], [EXACT, None], f'{EXACT}\r\n""\r\n'),
    ([EXACT, NAN], [EXACT, None], f'{EXACT}\r\n""\r\n'),
    ([2**64 - 1, None], [2**64 - 1, None], f'{2**64 - 1}\r\n""\r\n'),
    (np.ma.array([EXACT, 0], mask=[False, True]), [EXACT, None], f'{EXACT}\r\n""\r\n'),
    (np.ma.array([[2], [3]], mask=[[True], [False]], dtype=">u2"), [None, 3], '""\r\n3\r\n'),
    (np.ma.array([1, 2]), [1, 2], "1\r\n2\r\n"),
    ([1, 0.5], [1.0, 0.5], "1.0\r\n0.5\r\n"),
]
TOO_LARGE: list[tuple[list[Any], str]] = [
    ([EXACT, 1.5], f"{EXACT}\r\n1.5\r\n"),
    ([np.int64(EXACT), np.float32(1.5)], f"{EXACT}\r\n1.5\r\n"),
    ([2**64 - 1, -1], f"{2**64 - 1}\r\n-1\r\n"),
    ([np.uint64(2**64 - 1), -1], f"{2**64 - 1}\r\n-1\r\n"),
    ([2**70, None], f'{2**70}\r\n""\r\n'),
]


@pytest.mark.parametrize(("predictions", "values", "text"), INTEGERS)
def test_integers_beside_nulls(predictions: Any, values: list[Any], text: str) -> None:
    """They are integers, none is rounded, and a null is an empty cell."""
    assert encode_body(predictions, CSV).decode() == "0\r\n" + text
    if isinstance(predictions, list):
        records = [{"k": "a", "n": value} for value in predictions]
        assert _columns(records, ARROW)["n"] == values
    for accept in (ARROW, PARQUET):
        assert _columns(predictions, accept) == {"0": values}


@pytest.mark.parametrize(("predictions", "text"), TOO_LARGE)
def test_integers_that_no_column_holds(predictions: list[Any], text: str) -> None:
    """CSV has them as they are; Arrow and Parquet have no type for them."""
    records = [{"n": value} for value in predictions]
    assert encode_body(predictions, CSV).decode() == "0\r\n" + text
    assert encode_body(records, CSV).decode() == "n\r\n" + text
    for accept in (ARROW, PARQUET):
        for answer in (predictions, records):
            with pytest.raises(NotAcceptable, match="JSON is available"):
                encode_body(answer, accept)


def test_records_of_several_names() -> None:
    """A value that a record lacks is null, and integers stay integers."""
    records = [{"id": EXACT, "s": "a"}, {"id": 1, "b": 2}, {"s": "c", "b": None}]
    assert encode_body(records, CSV).decode() == f"id,s,b\r\n{EXACT},a,\r\n1,,2\r\n,c,\r\n"
    expected = {"id": [EXACT, 1, None], "s": ["a", None, "c"], "b": [None, 2, None]}
    for accept in (ARROW, PARQUET):
        assert _columns(records, accept) == expected


PLAIN: list[tuple[Any, list[Any], str]] = [
    (np.array([1.5, 2.5], dtype=">f8"), [1.5, 2.5], "double"),
    (pd.DataFrame({"0": np.array([1, 2], dtype=">i4")}), [1, 2], "int32"),
    (np.array(["2024-01-02"], dtype=">M8[s]"), [datetime.datetime(2024, 1, 2)], "timestamp[s]"),  # noqa: DTZ001 - has none
    (np.array([0.5], dtype=np.longdouble), [0.5], "double"),
    (pd.DataFrame({"0": pd.arrays.SparseArray([0.0, 1.5])}), [0.0, 1.5], "double"),
    (
        pd.get_dummies(pd.Series(["a", "b"]), sparse=True)[["a"]].set_axis(["0"], axis=1),
        [True, False],
        "bool",
    ),
]


@pytest.mark.parametrize(("predictions", "values", "arrow_type"), PLAIN)
def test_dtypes_that_arrow_lacks(predictions: Any, values: list[Any], arrow_type: str) -> None:
    """Byte-swapped, sparse and long double columns are sent as the plain dtype of the same values."""
    for accept in (ARROW, PARQUET):
        assert _columns(predictions, accept) == {"0": values}
    assert str(ipc.open_stream(encode_body(predictions, ARROW)).read_all().schema.types[0]) == arrow_type


DAY, NAIVE, ZONED = datetime.date(2024, 1, 2), datetime.datetime(2024, 1, 2, 12), NOON.to_pydatetime()  # noqa: DTZ001 - the point
MIXED: list[list[Any]] = [
    [DAY, NAIVE],
    [NAIVE, DAY],
    [b"a", "b"],
    [NAIVE, ZONED],
    [ZONED, NAIVE],
    [DAY, 5],
    [NAIVE, 5],
    [datetime.timedelta(1), 5],
    [datetime.time(1), 5],
    [datetime.time(1, tzinfo=datetime.UTC), None],
    [pd.Timestamp(1), None],
    [pd.Timedelta(1), None],
    [[DAY], [None, NAIVE]],
    [{"k": DAY}, {"k": NAIVE}, None],
    [{"k": [b"a"]}, {"k": ["b"]}],
]


@pytest.mark.parametrize("accept", [PARQUET, ARROW])
@pytest.mark.parametrize("cells", MIXED)
def test_values_that_arrow_would_change(cells: list[Any], accept: str) -> None:
    """A column whose values one Arrow type holds only if it makes others of them raises the error."""
    with pytest.raises(NotAcceptable, match="several types"):
        encode_body(pd.DataFrame({"x": pd.Series(cells, dtype=object)}), accept)


@pytest.mark.parametrize(
    "cells",
    [
        [DAY, None],
        [NAIVE, pd.NaT, None],
        [b"a", bytearray(b"b"), NAN],
        [[DAY], None, []],
        [{"k": DAY}, {"k": None}, None],
        [ZONED, pd.Timestamp(ZONED)],
    ],
)
def test_columns_of_one_kind(cells: list[Any]) -> None:
    """Nulls, and classes of one kind, are no mixture."""
    frame = pd.DataFrame({"x": pd.Series(cells, dtype=object)})
    expected = [None if cell is pd.NaT or cell is NAN else cell for cell in cells]
    assert _columns(frame, ARROW) == {"x": expected}


def _columns(predictions: object, accept: str) -> dict[str, list[Any]]:
    body = encode_body(predictions, accept)
    table = ipc.open_stream(body).read_all() if accept == ARROW else parquet.read_table(pa.BufferReader(body))
    columns: dict[str, list[Any]] = table.to_pydict()
    return columns
