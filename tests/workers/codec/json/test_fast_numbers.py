"""The fast path for large bodies of numbers returns the frame of the exact path, or none."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.types.schema import DataType

from tests.support.codec.specs import columns, input_spec
from workers.codec import formats
from workers.codec.json import fast_numbers
from workers.errors import InvalidInput
from workers.protocol.messages import Job

DOUBLES = columns((DataType.double, "a"), (DataType.double, "b,["), (DataType.double, "c"))
MIXED = columns(
    (DataType.double, "a"), (DataType.long, "b,["), (DataType.integer, "c"), (DataType.float, "d")
)
SCHEMAS = {"doubles": DOUBLES, "mixed": MIXED}
PLAIN = [0, 1, -1, 7, 2**31 - 1, -(2**31), 2**52 - 1, 0.0, -0.0, 0.5, 1.0, 2.0, 1e-300, 5e-324, 3.25e7]
EDGES = [2**31, 2**52, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 1e22, 1e308, 3.5e38, 4503599627370496.5]
OTHERS: list[Any] = [None, True, "1", [1], {}]
NUMBERS = st.one_of(st.sampled_from(PLAIN), st.integers(-99, 99), st.floats(-1e6, 1e6))


def large_body(names: list[Any], data: Any, **more: Any) -> bytes:
    """Return a body that white space makes large enough for the fast path."""
    text = json.dumps({"dataframe_split": {"columns": names, **more, "data": data}})
    return text.replace('"data": ', '"data": ' + " " * fast_numbers.MIN_BODY_BYTES).encode()


def decode_exactly(body: bytes, schema: Any) -> pd.DataFrame | None:
    """Return the frame of the exact path, or None if it rejects the body."""
    try:
        fast: pd.DataFrame = formats.decode(Job(body), replace(input_spec(schema), all_numeric=False)).data
    except InvalidInput:
        return None
    return fast


def decode_fast(body: bytes, schema: Any) -> pd.DataFrame | None:
    """Return the frame of the fast path, or None; check that it equals that of the exact path bit by bit."""
    fast = fast_numbers.read_numeric_frame(body, input_spec(schema))
    if fast is not None:
        exact = decode_exactly(body, schema)
        assert exact is not None
        pd.testing.assert_frame_equal(fast, exact, check_exact=True, check_column_type=True)
        assert type(fast.index) is type(exact.index)
        for fast_column, exact_column in zip(fast.to_numpy().T, exact.to_numpy().T, strict=True):
            assert fast_column.tobytes() == exact_column.tobytes()
        assert fast.to_numpy().flags.f_contiguous == exact.to_numpy().flags.f_contiguous
    return fast


@pytest.mark.parametrize("name", SCHEMAS)
@given(draw=st.data())
@settings(max_examples=150)
def test_the_fast_path_equals_the_exact_path(name: str, draw: st.DataObject) -> None:
    """The paths agree for random numbers, column orders and row labels, some of them invalid."""
    names = draw.draw(st.permutations([str(spec) for spec in SCHEMAS[name].input_names()]))
    cell = st.one_of(NUMBERS, NUMBERS, NUMBERS, st.sampled_from([*EDGES, *OTHERS]))
    cells = draw.draw(st.sampled_from([NUMBERS, cell]))
    data = draw.draw(st.lists(st.lists(cells, min_size=len(names), max_size=len(names)), max_size=5))
    index = draw.draw(st.sampled_from([{}, {"index": [*range(len(data))]}, {"index": [5.0] * len(data)}]))
    decode_fast(large_body(names, data, **index), SCHEMAS[name])


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_fast_path_is_taken(name: str) -> None:
    """Plain bodies of numbers, with labels and without, do take the fast path."""
    names = SCHEMAS[name].input_names()
    rows = [[float(row), row, row + 1, 0.5][: len(names)] for row in range(50)]
    assert decode_fast(large_body(names, rows), SCHEMAS[name]) is not None
    assert (
        decode_fast(large_body(names[::-1], [row[::-1] for row in rows], index=[*range(50)]), SCHEMAS[name])
        is not None
    )


@pytest.mark.parametrize(
    "data",
    [
        "[[1, 2], [3, 4, 5, 6], [7, 8, 9]]",
        "[[1, 2, 3, 4], [5, 6]]",
        "[[1, 2, 3], [4, 5, 6], []]",
        "[[[1, 2, 3]], [[4, 5, 6]]]",
        "[[1, 2, 3], 4, 5, 6]",
        "[[1, 2, 3, [4]], 5, 6]",
        "[[1, 2, [3]], [4, 5, 6]]",
        "[[[1], 2, 3], 4, 5, 6]",
        "[1, 2, 3]",
        "[]",
        "[[]]",
        "[[1, 2, 3]",
        "[[1, 2, 3],]",
        "[[1, 2, 3e999]]",
        "[[1, 2, NaN]]",
        "[[1, 2, 03]]",
        "[[1, 2, +3]]",
        "[[1, 2, .5]]",
        "[[1, 2, 5.]]",
        "[[1, 2, 123456789012345678901234567890]]",
        "[[1, 2, 9007199254740993]]",
        "[[1, 2, true]]",
        '[[1, 2, "3"]]',
        "[[1, 2, null]]",
    ],
)
def test_data_that_is_no_matrix_takes_the_exact_path(data: str) -> None:
    """So do uneven rows that have the right number of cells in total."""
    body = large_body(["a", "b,[", "c"], "DATA").replace(b'"DATA"', data.encode())
    assert decode_fast(body, DOUBLES) is None


@pytest.mark.parametrize(
    "document",
    [
        '{"dataframe_split": {"columns": ["a", "b,[", "c"], "data": [[1, 2, 3]]}, "params": {}}',
        '{"dataframe_split": {"columns": ["a", "b,["], "data": [[1, 2]]}}',
        '{"dataframe_split": {"columns": ["a", "a", "c"], "data": [[1, 2, 3]]}}',
        '{"dataframe_split": {"columns": ["a", "b,[", "x"], "data": [[1, 2, 3]]}}',
        '{"dataframe_split": {"columns": ["a", "b,[", ["c"]], "data": [[1, 2, 3]]}}',
        '{"dataframe_split": {"columns": ["a", "b,[", "c"], "data": [[1, 2, 3]], "more": 1}}',
        '{"dataframe_split": {"columns": ["a", "b,[", "c"], "data": [[1, 2, 3]], "data": [[4, 5, 6]]}}',
        '{"dataframe_split": {"columns": ["a", "b,[", "c"], "index": ["x"], "data": [[1, 2, 3]]}}',
        '{"dataframe_split": {"columns": ["a", "b,[", "c"], "index": [1, 2], "data": [[1, 2, 3]]}}',
        '{"dataframe_split": {"data": [[1, 2, 3]], "columns": ["a", "b,[", "c"]}}',
        '{"dataframe_split": [1, 2, 3]}',
        '{"instances": [[1, 2, 3]]}',
        "[[1, 2, 3]]",
        "7",
    ],
)
def test_other_bodies_take_the_exact_path(document: str) -> None:
    """Other forms, columns, members and labels are left to the exact path."""
    assert decode_fast(document.replace(" ", " " * fast_numbers.MIN_BODY_BYTES, 1).encode(), DOUBLES) is None


@pytest.mark.parametrize(
    "schema",
    [
        columns((DataType.string, "a")),
        columns((DataType.boolean, "a")),
        columns((DataType.double, None)),
        None,
    ],
)
def test_other_signatures_take_the_exact_path(schema: Any) -> None:
    """Only signatures of named numeric columns take the fast path."""
    assert not input_spec(schema).all_numeric


def test_a_byte_order_mark_takes_the_exact_path() -> None:
    """Only the exact path knows it."""
    body = large_body(["a", "b,[", "c"], [[1, 2, 3]])
    assert decode_fast(b"\xef\xbb\xbf" + body, DOUBLES) is None


def test_the_paths_agree_on_damaged_bodies() -> None:
    """With one byte changed, both paths return the same frame, or the fast path returns none."""
    rng = np.random.default_rng(11)
    whole = large_body(["a", "b,[", "c"], [[1.5, 2, 3], [4, 5.25, 6]])
    start = whole.index(b'"data"')
    for _ in range(400):
        body = bytearray(whole)
        at = int(rng.integers(start + fast_numbers.MIN_BODY_BYTES, len(body)))
        body[at] = int(rng.choice(list(b'0123456789.,-+eE[][][]{}"nt ')))
        decode_fast(bytes(body), DOUBLES)
