"""Small bodies that would be large in memory are refused before they are."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from mlflow.types.schema import ColSpec, DataType, Schema, TensorSpec

from tests.support.codec import v2_bodies
from tests.support.codec.plans import column, columns, data, refused
from workers.errors import InvalidInput

DISTINCT = [{f"c{at}": at} for at in range(8000)]
WIDE = ["x" * 50_000, *["y"] * 5_000]
MOST = 32 * 1024 * 1024


@pytest.mark.parametrize(
    ("form", "schema", "problem"),
    [
        ("dataframe_records", None, "most of the cells"),
        ("dataframe_records", columns((DataType.long, None)), "most of the cells"),
        ("dataframe_records", column(DataType.long), "not a column"),
        ("inputs", columns((DataType.long, None)), "most of the cells"),
        ("inputs", column(DataType.long), "not a column"),
    ],
)
def test_records_of_distinct_names(form: str, schema: Schema | None, problem: str) -> None:
    """They are refused without a cell for each name in each record."""
    body = json.dumps({form: DISTINCT}).encode()
    tracemalloc.start()
    try:
        error = refused(body, schema)
        assert tracemalloc.get_traced_memory()[1] < MOST
    finally:
        tracemalloc.stop()
    assert problem in str(error)


def test_a_sparse_table_of_known_names() -> None:
    """Names that the signature has are no reason to refuse."""
    schema = Schema([ColSpec(DataType.double, f"c{at}", required=False) for at in range(200)])
    made = data({"dataframe_records": [{f"c{at % 200}": at} for at in range(1000)]}, schema, enforced=False)
    assert made.shape == (1000, 200)
    assert made.count().sum() == 1000


@pytest.mark.parametrize(
    ("payload", "schema"),
    [
        (WIDE, None),
        ([[[text] for text in WIDE]], None),
        ({"x": WIDE}, None),
        (WIDE, Schema([TensorSpec(np.dtype(str), (-1,))])),
    ],
)
def test_one_long_string_among_many(payload: Any, schema: Schema | None) -> None:
    """An array of strings would give each the length of the longest."""
    assert "more than 256 MiB" in str(refused({"inputs": payload}, schema))
    with pytest.raises(InvalidInput, match="more than 256 MiB"):
        v2_bodies.data(v2_bodies.tensor("x", "BYTES", WIDE), schema=schema)
