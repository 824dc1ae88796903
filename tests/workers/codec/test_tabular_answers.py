"""Predictions in CSV, Parquet and Arrow: every table is encoded, and other predictions are rejected."""

from __future__ import annotations

import datetime
import io
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet
from scipy import sparse

from workers.codec import formats
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
        parquet.read_table(io.BytesIO(encode_body(predictions, PARQUET))),
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


def test_types_are_kept() -> None:
    """The narrow dtypes of predictions are kept."""
    frame = pd.DataFrame(
        {"f": np.array([0.1], np.float32), "i": np.array([1], np.int8), "d": [datetime.timedelta(1)]}
    )
    table = ipc.open_stream(encode_body(frame, ARROW)).read_all()
    assert [str(kind) for kind in table.schema.types[:2]] == ["float", "int8"]
    assert pa.types.is_duration(table.schema.types[2])
