"""A table as CSV, Parquet and Arrow, and the model input that the codec makes of it."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from mlflow.models.utils import _enforce_schema
from pyarrow import ipc, parquet

from tests.support.codec.specs import SENTINEL, input_spec
from workers.codec import formats
from workers.errors import InvalidInput
from workers.protocol.messages import ARROW, CSV, PARQUET, Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow.types.schema import Schema

FORMATS = (CSV, PARQUET, ARROW)


def arrow_stream(table: pa.Table, **options: Any) -> bytes:
    """Return an Arrow stream of the table."""
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema, options=ipc.IpcWriteOptions(**options)) as stream:
        stream.write_table(table)
    stream_bytes: bytes = sink.getvalue().to_pybytes()
    return stream_bytes


def parquet_file(table: pa.Table, **options: Any) -> bytes:
    """Return a Parquet file of the table."""
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, **options)
    file_bytes: bytes = sink.getvalue().to_pybytes()
    return file_bytes


def csv_text(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    """Return CSV: null is an empty cell, an empty text a quoted one, lists and objects are JSON."""
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


def model_input(body: bytes, media_type: str, schema: Schema | None, *, enforced: bool = True) -> Any:
    """Return the model's input of a body, after MLflow's own check in `predict`."""
    decoded = formats.decode(Job(body, media_type), input_spec(schema)).data
    return _enforce_schema(decoded, schema) if enforced and schema is not None else decoded


def decode_error(body: bytes, media_type: str, schema: Schema | None, **options: Any) -> InvalidInput:
    """Return the error that decoding raises, after a check that it does not repeat the sentinel."""
    with pytest.raises(InvalidInput) as caught:
        formats.decode(Job(body, media_type), input_spec(schema, **options))
    assert SENTINEL not in f"{caught.value} {caught.value.details}"
    return caught.value
