"""The same table as CSV, Parquet and Arrow, and what the codec makes of it."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from mlflow.models.utils import _enforce_schema
from pyarrow import ipc, parquet

from tests.support.codec.plans import SENTINEL, plan
from workers.codec import formats
from workers.errors import InvalidInput
from workers.protocol.messages import ARROW, CSV, PARQUET, Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow.types.schema import Schema

FORMATS = (CSV, PARQUET, ARROW)


def arrow(table: pa.Table, **options: Any) -> bytes:
    """An Arrow stream of the table."""
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema, options=ipc.IpcWriteOptions(**options)) as stream:
        stream.write_table(table)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def parquet_file(table: pa.Table, **options: Any) -> bytes:
    """A Parquet file of the table."""
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, **options)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def csv_text(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    """CSV by Python's own writer: null is an empty cell, an empty text a quoted one, lists are JSON."""
    sink = io.StringIO()
    writer = csv.writer(sink, quoting=csv.QUOTE_MINIMAL)
    writer.writerow(names)
    for row in rows:
        sink.write(",".join(_cell(value) for value in row) + "\r\n")
    return sink.getvalue().encode()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"'
    if isinstance(value, float):
        return repr(value)
    return '"' + json.dumps(value).replace('"', '""') + '"'


def data(body: bytes, media_type: str, schema: Schema | None, *, enforced: bool = True) -> Any:
    """The model's input, after MLflow's own check of what the codec made."""
    made = formats.decode(Job(body, media_type), plan(schema)).data
    return _enforce_schema(made, schema) if enforced and schema is not None else made


def refused(body: bytes, media_type: str, schema: Schema | None, **options: Any) -> InvalidInput:
    """The refusal of a body; neither its message nor its details hold the sentinel."""
    with pytest.raises(InvalidInput) as caught:
        formats.decode(Job(body, media_type), plan(schema, **options))
    assert SENTINEL not in f"{caught.value} {caught.value.details}"
    return caught.value
