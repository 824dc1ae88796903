"""Quotes within cells of CSV: both ways to find them say the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.codec.csv import table

TEXTS = st.lists(st.sampled_from(['"', '""', ",", "\n", "\r", "a", "ä"]), max_size=12).map("".join)


@given(TEXTS.map(str.encode))
def test_both_ways_agree(text: bytes) -> None:
    """Old versions of Python have no possessive repetitions, and look at each pair of quotes instead."""
    if text.count(b'"') % 2 == 0:
        assert table._WHOLE_QUOTED_CELLS is not None
        whole = table._WHOLE_QUOTED_CELLS.fullmatch(text) is not None
        assert table._is_each_pair_between_cells(text) == whole
