"""Random tables: refused, or the frame holds exactly the values that were sent."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.types.schema import DataType

from tests.support.codec.plans import columns, data
from workers.errors import InvalidInput

TYPES = [DataType.long, DataType.integer, DataType.double, DataType.float, DataType.string, DataType.boolean]
SCHEMA = columns(*((kind, kind.name) for kind in TYPES))

numbers = (
    st.integers(-(2**66), 2**66)
    | st.integers(2**53 - 2, 2**53 + 2)
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-9, 9).map(float)
)
cells = numbers | st.none() | st.booleans() | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
fitting = {
    DataType.long: st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9).map(float),
    DataType.integer: st.integers(-(2**31), 2**31 - 1),
    DataType.double: numbers,
    DataType.float: st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-9, 9),
    DataType.string: st.text(st.characters(exclude_categories=["Cs"]), max_size=3) | st.none(),
    DataType.boolean: st.booleans(),
}
rows = st.tuples(*(st.one_of(fitting[kind], fitting[kind], fitting[kind], cells) for kind in TYPES)).map(list)


@settings(max_examples=300, deadline=None)
@given(st.lists(rows, min_size=1, max_size=4))
def test_refused_or_exact(table: list[list[Any]]) -> None:
    """Python's own exact arithmetic compares each cell; only a decimal may be rounded to a float."""
    body = {"dataframe_split": {"columns": [kind.name for kind in TYPES], "data": table}}
    try:
        frame = data(body, SCHEMA)
    except InvalidInput:
        return
    for kind in TYPES:
        for sent, row in zip(table, frame[kind.name].tolist(), strict=True):
            assert same(sent[TYPES.index(kind)], row, kind)


def same(sent: Any, got: Any, kind: DataType) -> bool:
    if sent is None:
        return got is None or math.isnan(got)
    if kind == DataType.float:
        with np.errstate(over="ignore"):
            return type(sent) in {int, float} and float(np.float32(sent)) == got
    if isinstance(sent, str | bool) or isinstance(got, str | bool):
        return type(sent) is type(got) and bool(sent == got)
    return Fraction(sent) == Fraction(got)
