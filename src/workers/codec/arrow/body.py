"""Request bodies in Arrow's stream format: columns by name, of Arrow's types."""

from __future__ import annotations

import pyarrow as pa
from pyarrow import ipc

from workers.codec.arrow import size_limits
from workers.codec.arrow.ipc_sizes import decompressed_size
from workers.codec.arrow.tables import to_model_input
from workers.codec.input_errors import requires_inputs_form
from workers.codec.inputs.params import validate_params
from workers.codec.request import DecodedRequest
from workers.codec.signature import InputSpec
from workers.errors import InvalidInput
from workers.protocol.messages import Job

_FILE_MAGIC = b"ARROW1"


def decode(job: Job, spec: InputSpec) -> DecodedRequest:
    """Decode an Arrow stream, with strict input checks: MLflow has no such format. Raises InvalidInput."""
    if spec.type_hinted:
        raise requires_inputs_form("an Arrow table")
    if job.body.startswith(_FILE_MAGIC):
        raise InvalidInput("The body is Arrow's file format; send the stream format.")
    max_bytes = size_limits.max_decoded_bytes(job.body)
    table = _read_table(job.body, max_bytes=max_bytes)
    return DecodedRequest(to_model_input(table, spec, max_bytes=max_bytes), validate_params(None, spec))


def _read_table(body: bytes, *, max_bytes: int) -> pa.Table:
    try:
        if decompressed_size(body) > max_bytes:
            raise size_limits.too_large_error(max_bytes)
        source = pa.BufferReader(body)
        with ipc.open_stream(source, options=ipc.IpcReadOptions(use_threads=False)) as stream:
            table = stream.read_all()
        surplus = len(body) - source.tell()
    except InvalidInput:
        raise
    except Exception as error:  # a damaged schema raises any type of exception
        raise InvalidInput("The body is not an Arrow stream, or ends too early.") from error
    if surplus:
        raise InvalidInput(
            f"{surplus} bytes follow the end of the Arrow stream; send one stream in each body."
        )
    return table
