"""A random table is rejected, or its frame holds exactly the values that were sent."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.types.schema import DataType

from tests.support.codec.specs import columns, model_input
from workers.errors import InvalidInput

TYPES = [DataType.long, DataType.integer, DataType.double, DataType.float, DataType.string, DataType.boolean]
SCHEMA = columns(*((kind, kind.name) for kind in TYPES))

NUMBERS = (
    st.integers(-(2**66), 2**66)
    | st.integers(2**53 - 2, 2**53 + 2)
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-9, 9).map(float)
)
CELLS = NUMBERS | st.none() | st.booleans() | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
FITTING = {
    DataType.long: st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9).map(float),
    DataType.integer: st.integers(-(2**31), 2**31 - 1),
    DataType.double: NUMBERS,
    DataType.float: st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-9, 9),
    DataType.string: st.text(st.characters(exclude_categories=["Cs"]), max_size=3) | st.none(),
    DataType.boolean: st.booleans(),
}
ROWS = st.tuples(*(st.one_of(FITTING[kind], FITTING[kind], FITTING[kind], CELLS) for kind in TYPES)).map(list)


@settings(max_examples=300)
@given(st.lists(ROWS, min_size=1, max_size=4))
def test_rejected_or_exact(table: list[list[Any]]) -> None:
    """Each accepted cell equals its value in exact arithmetic; only decimals are rounded to floats."""
    body = {"dataframe_split": {"columns": [kind.name for kind in TYPES], "data": table}}
    try:
        frame = model_input(body, SCHEMA)
    except InvalidInput:
        return
    for kind in TYPES:
        for sent, row in zip(table, frame[kind.name].tolist(), strict=True):
            assert is_exact(sent[TYPES.index(kind)], row, kind)


def is_exact(sent: Any, received: Any, kind: DataType) -> bool:
    if sent is None:
        return received is None or math.isnan(received)
    if kind == DataType.float:
        with np.errstate(over="ignore"):
            return type(sent) in {int, float} and float(np.float32(sent)) == received
    if isinstance(sent, str | bool) or isinstance(received, str | bool):
        return type(sent) is type(received) and bool(sent == received)
    return Fraction(sent) == Fraction(received)
