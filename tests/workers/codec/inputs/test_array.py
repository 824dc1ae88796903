"""The array that a table becomes without a frame is the array of its frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.types.schema import ColSpec, DataType, Schema

from tests.support.codec.specs import input_spec
from workers.codec.inputs.frames import to_array, to_frame
from workers.codec.inputs.tables import Table
from workers.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.codec.signature import InputSpec

NAMES = ("a", "b", "c")
NUMBERS = (DataType.double, DataType.float, DataType.long, DataType.integer)
INTEGERS = st.integers(-(2**70), 2**70) | st.integers(-5, 5)
CELLS: st.SearchStrategy[Any] = INTEGERS | st.floats() | st.none() | st.text(max_size=2) | st.booleans()


def spec(kind: DataType) -> InputSpec:
    """Return the specification of three columns of numbers."""
    return input_spec(Schema([ColSpec(kind, name) for name in NAMES]))


def table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """Return rows as a table."""
    return Table(tuple(names), tuple(zip(*rows, strict=True)), len(rows))


@pytest.mark.parametrize("kind", NUMBERS)
@given(
    rows=st.lists(st.tuples(*[CELLS] * 3) | st.tuples(*[st.integers(-9, 9)] * 3), min_size=1, max_size=4),
    names=st.permutations(NAMES),
)
def test_it_is_the_array_of_the_frame_or_none(kind: DataType, rows: list[Any], names: list[str]) -> None:
    """To the last bit, and in the same order in memory; None where no frame can be made."""
    given_table = table(names, rows)
    found = to_array(given_table, spec(kind))
    try:
        expected = to_frame(given_table, spec(kind)).to_numpy()
    except InvalidInput:
        assert found is None
        return
    assert found is not None
    assert (found.dtype, found.shape, found.strides) == (expected.dtype, expected.shape, expected.strides)
    assert found.tobytes(order="A") == expected.tobytes(order="A")


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "d"), ("a", "b", "c", "d")])
def test_other_columns_are_for_the_frame_to_refuse(names: Sequence[str]) -> None:
    """A column that is missing, or unknown."""
    assert to_array(table(names, [range(len(names))]), spec(DataType.long)) is None


def test_rows_with_labels_need_a_frame() -> None:
    """A model may look at them."""
    labelled = Table(NAMES, ((1,), (2,), (3,)), 1, index=["first"])
    assert to_array(labelled, spec(DataType.long)) is None
    assert np.array_equal(to_array(table(NAMES, [(1, 2, 3)]), spec(DataType.long)), [[1, 2, 3]])  # type: ignore[arg-type] # it is one
