"""The page of differences says what the tests hold."""

from __future__ import annotations

from tests.zoo.page import PAGE, PARTS, text
from tests.zoo.table import DIFFERENCES


def test_the_page_is_the_table() -> None:
    """The page holds every row of the table of differences, and nothing else."""
    assert PAGE.read_text() == text(), "write it again: python -m tests.zoo.page"


def test_each_difference_stands_on_the_page_once() -> None:
    """No part of the table is left out, and no two rows have one title."""
    rows = [row for _, part in PARTS for row in part]
    assert rows == list(DIFFERENCES)
    assert len({row.title for row in rows}) == len(rows)
    assert all(row.there and row.here and row.why for row in rows)
