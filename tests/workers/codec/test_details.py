"""How many of the cells that do not fit an error names, and how many it counts."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pytest
from mlflow.types.schema import DataType
from pyarrow import parquet

from tests.support.codec.specs import column, decode_error, input_spec, json_body
from tests.support.codec.v2_bodies import make_job, tensor
from workers.codec import formats
from workers.codec.input_errors import limit_details
from workers.errors import InvalidInput
from workers.protocol.messages import ARROW, CSV, JSON, PARQUET, Job

TEXTS = column(DataType.long)
WRONG = 130


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    return sink.getvalue()


def _arrow(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


HALVES = pa.table({"x": [0.5] * WRONG})
JOBS = {
    "split": Job(json_body({"dataframe_split": {"columns": ["x"], "data": [["a"]] * WRONG}})),
    "records": Job(json_body({"dataframe_records": [{"x": "a"}] * WRONG})),
    "instances": Job(json_body({"instances": [{"x": "a"}] * WRONG})),
    "inputs": Job(json_body({"inputs": {"x": ["a"] * WRONG}})),
    "last release": Job(json_body({"columns": ["x"], "data": [["a"]] * WRONG})),
    "csv": Job(b"x\n" + b"a\n" * WRONG, CSV),
    "csv of uneven lines": Job(b"x\n" + b"1,2\n" * WRONG, CSV),
    "parquet": Job(_parquet(HALVES), PARQUET),
    "arrow": Job(_arrow(HALVES), ARROW),
    "open inference": make_job(tensor("x", "BYTES", ["a"] * WRONG)),
}


@pytest.mark.parametrize("form", JOBS)
@pytest.mark.parametrize("number", [1, 5, 100])
def test_each_body_form_names_as_many_as_asked_and_counts_all(form: str, number: int) -> None:
    """The cells are the first ones by row; the message counts those that are not named."""
    with pytest.raises(InvalidInput) as caught:
        formats.decode(JOBS[form], input_spec(TEXTS))
    error = limit_details(caught.value, number)
    assert [problem.row for problem in error.details] == list(range(number))
    assert error.total == WRONG
    assert str(error).endswith(f" There are {WRONG - number} more than the details name.")


def test_no_more_than_all_are_named() -> None:
    """If all are named, the message counts nothing."""
    error = decode_error({"inputs": {"x": ["a"] * 3}}, TEXTS)
    shown = limit_details(error, 100)
    assert (len(shown.details), shown.total) == (3, 3)
    assert "more than" not in str(shown)


@pytest.mark.parametrize("media_type", [JSON, CSV])
def test_counting_stops_at_a_thousand(media_type: str) -> None:
    """Each counted cell takes memory, so the error says that there are more."""
    body: Any = json_body({"inputs": {"x": ["a"] * 5000}}) if media_type == JSON else b"x\n" + b"a,b\n" * 5000
    with pytest.raises(InvalidInput) as caught:
        formats.decode(Job(body, media_type), input_spec(TEXTS))
    assert caught.value.total == 1001
    assert len(caught.value.details) == 100
    assert "There are more than 995 more" in str(limit_details(caught.value, 5))
