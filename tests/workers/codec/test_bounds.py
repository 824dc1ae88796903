"""Small bodies that would become large in memory are rejected before they do."""

from __future__ import annotations

import json
import random
import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
from mlflow.types.schema import ColSpec, DataType, Schema, TensorSpec

from tests.support.codec import v2_bodies
from tests.support.codec.specs import column, columns, decode_error, input_spec, model_input
from workers.codec import formats
from workers.codec.csv import table as csv_table
from workers.errors import InvalidInput
from workers.protocol.messages import CSV, Job

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


@pytest.mark.parametrize("end", [b"\n", b"\r"])
def test_csv_of_empty_lines(end: bytes) -> None:
    """More lines than four million are rejected if they have less than four bytes each."""
    with pytest.raises(InvalidInput, match="4194305 lines; one of its size may have at most 4194304"):
        formats.decode(Job(b"x" + end * (4 * 2**20 + 1) + b"1", CSV), input_spec(column(DataType.double)))


def test_quotes_within_cells() -> None:
    """A quote is accepted exactly where both sides of what is quoted are the end of a cell, or quoted too."""
    random_bytes = random.Random(1)  # noqa: S311 - no secret
    quoted = re.compile(rb'"[^"]*"')
    for _ in range(8_000):
        text = b"x" + bytes(random_bytes.choice(b'"",\n\rab') for _ in range(random_bytes.randrange(14)))
        if text.count(b'"') % 2 == 0:
            stray = re.search(rb'[^,\r\n"]"|"[^,\r\n"]', quoted.sub(b'"', text))
            try:
                csv_table.parse_table(text)
            except InvalidInput as error:
                rejected = "quote within" in str(error)
            else:
                rejected = False
            assert rejected == bool(stray), text
