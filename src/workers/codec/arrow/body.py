"""Bodies in Arrow's stream format: columns by name, of Arrow's own types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import ipc

from workers.codec.arrow import size_limits
from workers.codec.arrow import tables as arrow_tables
from workers.codec.arrow.ipc_sizes import decompressed_size
from workers.codec.input_errors import type_hinted
from workers.codec.inputs.params import checked
from workers.codec.request import Request
from workers.errors import InvalidInput

if TYPE_CHECKING:
    from workers.codec.signature import Plan
    from workers.protocol.messages import Job

_FILE = b"ARROW1"


def read(job: Job, plan: Plan) -> Request:
    """The body as data for the model; held against the signature strictly, since MLflow has no such form."""
    if plan.type_hinted:
        raise type_hinted("an Arrow table")
    if job.body.startswith(_FILE):
        raise InvalidInput("The body is Arrow's file format; send the stream format.")
    most = size_limits.limit(job.body)
    return Request(arrow_tables.data(_table(job.body, most=most), plan, most=most), checked(None, plan))


def _table(body: bytes, *, most: int) -> pa.Table:
    try:
        if decompressed_size(body) > most:
            raise size_limits.too_large(most)
        with ipc.open_stream(pa.BufferReader(body), options=ipc.IpcReadOptions(use_threads=False)) as stream:
            return stream.read_all()
    except InvalidInput:
        raise
    except Exception as error:  # a damaged schema raises whatever Python's own types do
        raise InvalidInput("The body is not an Arrow stream, or ends too early.") from error
