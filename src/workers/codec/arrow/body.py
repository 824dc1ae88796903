"""Bodies in Arrow's stream format: columns by name, of Arrow's own types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import ipc

from workers.codec.arrow import size_limits
from workers.codec.arrow import tables as arrow_tables
from workers.codec.arrow.ipc_sizes import decompressed_size
from workers.codec.input_errors import requires_inputs_form
from workers.codec.inputs.params import validate_params
from workers.codec.request import DecodedRequest
from workers.errors import InvalidInput

if TYPE_CHECKING:
    from workers.codec.signature import InputSpec
    from workers.protocol.messages import Job

_FILE_MAGIC = b"ARROW1"


def decode(job: Job, spec: InputSpec) -> DecodedRequest:
    """The body as data for the model; held against the signature strictly, since MLflow has no such form."""
    if spec.type_hinted:
        raise requires_inputs_form("an Arrow table")
    if job.body.startswith(_FILE_MAGIC):
        raise InvalidInput("The body is Arrow's file format; send the stream format.")
    most = size_limits.max_decoded_bytes(job.body)
    return DecodedRequest(
        arrow_tables.to_model_input(_read_table(job.body, max_bytes=most), spec, max_bytes=most),
        validate_params(None, spec),
    )


def _read_table(body: bytes, *, max_bytes: int) -> pa.Table:
    try:
        if decompressed_size(body) > max_bytes:
            raise size_limits.too_large_error(max_bytes)
        with ipc.open_stream(pa.BufferReader(body), options=ipc.IpcReadOptions(use_threads=False)) as stream:
            return stream.read_all()
    except InvalidInput:
        raise
    except Exception as error:  # a damaged schema raises whatever Python's own types do
        raise InvalidInput("The body is not an Arrow stream, or ends too early.") from error
