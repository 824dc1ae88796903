"""The rows of one body, whatever the body before it named its columns."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mlflow.types.schema import ColSpec, DataType, Schema

from tests.support.codec.specs import input_spec
from workers.codec.json.rows import parse_rows
from workers.protocol.messages import Job

SPEC = input_spec(Schema([ColSpec(DataType.double, name) for name in "ab"]))


def names_of(columns: Any, row: list[Any]) -> tuple[str, ...] | None:
    """Return the names of a body with these columns and one row."""
    body = {"dataframe_split": {"columns": columns, "data": [row]}}
    parsed = parse_rows(Job(json.dumps(body).encode()), SPEC)
    return None if parsed is None else parsed.names


@pytest.mark.parametrize("first", [["a", "b"], ["b", "a"], [0, 1], ["0", "1"]])
@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (["a", "b"], ("a", "b")),
        (["b", "a"], ("b", "a")),
        ([0, 1], ("0", "1")),
        (["0", "1"], ("0", "1")),
        ([False, True], None),
        ([0.0, 1.0], None),
        (["a", "a"], None),
        ([1, 1], None),
        (["a", 1], None),
        ([], None),
        (None, None),
        ("ab", None),
        ({"a": 0, "b": 1}, None),
    ],
    ids=repr,
)
def test_names(first: list[Any], columns: Any, names: tuple[str, ...] | None) -> None:
    """They are text, of integers too, and all different."""
    assert names_of(first, [1, 2]) is not None
    assert names_of(columns, [1, 2]) == names


@pytest.mark.parametrize("row", [[], [1], [1, 2, 3]])
def test_a_row_has_as_many_values_as_there_are_names(row: list[int]) -> None:
    """Of the same names as before, too."""
    assert names_of(["a", "b"], [1, 2]) == ("a", "b")
    assert names_of(["a", "b"], row) is None
