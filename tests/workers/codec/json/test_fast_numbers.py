"""The short way for large bodies of numbers: the exact way's frame, or none at all."""

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

from tests.support.codec.plans import columns, plan
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


def encoded(names: list[Any], data: Any, **more: Any) -> bytes:
    """A body large enough for the short way: its white space counts."""
    text = json.dumps({"dataframe_split": {"columns": names, **more, "data": data}})
    return text.replace('"data": ', '"data": ' + " " * fast_numbers.MIN_BODY_BYTES).encode()


def exactly(body: bytes, schema: Any) -> pd.DataFrame | None:
    """What the exact way makes of it; None where it refuses."""
    try:
        made: pd.DataFrame = formats.decode(Job(body), replace(plan(schema), all_numeric=False)).data
    except InvalidInput:
        return None
    return made


def agree(body: bytes, schema: Any) -> pd.DataFrame | None:
    """The short way's frame, which is the exact way's to the last bit and in its layout, or None."""
    made = fast_numbers.read_numeric_frame(body, plan(schema))
    if made is not None:
        wanted = exactly(body, schema)
        assert wanted is not None
        pd.testing.assert_frame_equal(made, wanted, check_exact=True, check_column_type=True)
        assert type(made.index) is type(wanted.index)
        for ours, theirs in zip(made.to_numpy().T, wanted.to_numpy().T, strict=True):
            assert ours.tobytes() == theirs.tobytes()
        assert made.to_numpy().flags.f_contiguous == wanted.to_numpy().flags.f_contiguous
    return made


@pytest.mark.parametrize("name", SCHEMAS)
@given(draw=st.data())
@settings(max_examples=150, deadline=None)
def test_numbers_are_read_as_the_exact_way_reads_them(name: str, draw: st.DataObject) -> None:
    """Whatever the numbers, the order of the columns and the labels; now and then something else."""
    names = draw.draw(st.permutations([str(spec) for spec in SCHEMAS[name].input_names()]))
    cell = st.one_of(NUMBERS, NUMBERS, NUMBERS, st.sampled_from([*EDGES, *OTHERS]))
    cells = draw.draw(st.sampled_from([NUMBERS, cell]))
    data = draw.draw(st.lists(st.lists(cells, min_size=len(names), max_size=len(names)), max_size=5))
    index = draw.draw(st.sampled_from([{}, {"index": [*range(len(data))]}, {"index": [5.0] * len(data)}]))
    agree(encoded(names, data, **index), SCHEMAS[name])


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_short_way_is_taken(name: str) -> None:
    """For what it is made for, with labels and without; the other tests hold where it always gives up."""
    names = SCHEMAS[name].input_names()
    rows = [[float(row), row, row + 1, 0.5][: len(names)] for row in range(50)]
    assert agree(encoded(names, rows), SCHEMAS[name]) is not None
    assert (
        agree(encoded(names[::-1], [row[::-1] for row in rows], index=[*range(50)]), SCHEMAS[name])
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
def test_what_is_no_matrix_is_left_to_the_exact_way(data: str) -> None:
    """Which says what is wrong, or takes it; rows that only together have the right number of cells too."""
    body = encoded(["a", "b,[", "c"], "DATA").replace(b'"DATA"', data.encode())
    assert agree(body, DOUBLES) is None


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
def test_other_bodies_are_left_to_the_exact_way(document: str) -> None:
    """Whatever they hold."""
    assert agree(document.replace(" ", " " * fast_numbers.MIN_BODY_BYTES, 1).encode(), DOUBLES) is None


@pytest.mark.parametrize(
    "schema",
    [
        columns((DataType.string, "a")),
        columns((DataType.boolean, "a")),
        columns((DataType.double, None)),
        None,
    ],
)
def test_other_signatures_are(schema: Any) -> None:
    """Only columns of numbers, by name, are read by the short way."""
    assert not plan(schema).all_numeric


def test_a_mark_of_byte_order_is_left_to_the_exact_way() -> None:
    """Which refuses it, as JSON has it."""
    body = encoded(["a", "b,[", "c"], [[1, 2, 3]])
    assert agree(b"\xef\xbb\xbf" + body, DOUBLES) is None


def test_damaged_bodies_agree() -> None:
    """A byte changed anywhere: the same frame, or none."""
    rng = np.random.default_rng(11)
    whole = encoded(["a", "b,[", "c"], [[1.5, 2, 3], [4, 5.25, 6]])
    start = whole.index(b'"data"')
    for _ in range(400):
        body = bytearray(whole)
        at = int(rng.integers(start + fast_numbers.MIN_BODY_BYTES, len(body)))
        body[at] = int(rng.choice(list(b'0123456789.,-+eE[][][]{}"nt ')))
        agree(bytes(body), DOUBLES)
