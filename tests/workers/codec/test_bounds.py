"""Small bodies that would become large in memory are rejected before they do."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from mlflow.types.schema import ColSpec, DataType, Schema, TensorSpec

from tests.support.codec import v2_bodies
from tests.support.codec.specs import column, columns, decode_error, model_input
from workers.errors import InvalidInput

DISTINCT = [{f"c{at}": at} for at in range(8000)]
WIDE = ["x" * 50_000, *["y"] * 5_000]
MAX_BYTES = 32 * 1024 * 1024


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
    """They are rejected without making a cell for each name in each record."""
    body = json.dumps({form: DISTINCT}).encode()
    tracemalloc.start()
    try:
        error = decode_error(body, schema)
        assert tracemalloc.get_traced_memory()[1] < MAX_BYTES
    finally:
        tracemalloc.stop()
    assert problem in str(error)


def test_a_sparse_table_of_known_names() -> None:
    """A table whose names are all in the signature is accepted, however sparse."""
    schema = Schema([ColSpec(DataType.double, f"c{at}", required=False) for at in range(200)])
    frame = model_input(
        {"dataframe_records": [{f"c{at % 200}": at} for at in range(1000)]}, schema, enforced=False
    )
    assert frame.shape == (1000, 200)
    assert frame.count().sum() == 1000


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
    """A body is rejected if an array of its strings, each as large as the longest, is too large."""
    assert "more than 256 MiB" in str(decode_error({"inputs": payload}, schema))
    with pytest.raises(InvalidInput, match="more than 256 MiB"):
        v2_bodies.model_input(v2_bodies.tensor("x", "BYTES", WIDE), schema=schema)
