"""Parquet: request bodies with columns by name, and predictions as a file."""

from __future__ import annotations

from io import BytesIO
from typing import Final

import pyarrow as pa
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from pyarrow import parquet

from workers.codec.arrow import answer, parquet_footer, parquet_pages, size_limits
from workers.codec.arrow.tables import to_model_input
from workers.codec.input_errors import requires_inputs_form
from workers.codec.inputs.params import validate_params
from workers.codec.request import DecodedRequest, EncodedResponse
from workers.codec.signature import InputSpec
from workers.errors import InvalidInput
from workers.protocol.messages import PARQUET, Job

_BATCHES_IN_LIMIT: Final = 4  # of the most bytes that texts may become, so that little is decoded beyond it
_MAX_BATCHES: Final = 50_000


def decode(job: Job, spec: InputSpec) -> DecodedRequest:
    """Decode a Parquet body. Raises InvalidInput."""
    max_bytes = size_limits.max_decoded_bytes(job.body)
    if parquet_footer.read_decoded_size(job.body) > max_bytes:
        raise size_limits.too_large_error(max_bytes)
    if spec.input_checks == "mlflow":
        return _decode_with_mlflow(job.body)
    if spec.type_hinted:
        raise requires_inputs_form("a Parquet table")
    return DecodedRequest(
        to_model_input(_read_table(job.body, max_bytes=max_bytes), spec, max_bytes=max_bytes),
        validate_params(None, spec),
    )


def encode(predictions: object, request: DecodedRequest) -> EncodedResponse:
    """Encode the predictions as a Parquet file. Raises NotAcceptable if Parquet cannot hold them."""
    table = answer.predictions_to_table(predictions, PARQUET)
    sink = pa.BufferOutputStream()
    try:
        parquet.write_table(table, sink)
    except pa.ArrowException as error:
        raise answer.not_representable(PARQUET) from error
    return EncodedResponse(sink.getvalue().to_pybytes(), content_type=PARQUET)


def _read_table(body: bytes, *, max_bytes: int) -> pa.Table:
    try:
        return _read_with_dictionaries(body)
    except Exception as error:  # pyarrow raises many types for a damaged file
        try:
            if parquet_pages.has_delta_texts(body):
                return _read_in_batches(body, max_bytes=max_bytes)
        except InvalidInput:
            raise
        except Exception as second:  # as above
            raise parquet_footer.not_parquet_error() from second
        raise parquet_footer.not_parquet_error() from error


def _read_with_dictionaries(body: bytes) -> pa.Table:
    """Return all columns; texts as dictionaries, so that each is in memory only as often as in the file."""
    metadata = parquet.read_metadata(pa.BufferReader(body))
    columns = [metadata.schema.column(at) for at in range(metadata.num_columns)]
    texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
    file = parquet.ParquetFile(
        pa.BufferReader(body), metadata=metadata, read_dictionary=texts, pre_buffer=False
    )
    return file.read(use_threads=False, use_pandas_metadata=False)


def _read_in_batches(body: bytes, *, max_bytes: int) -> pa.Table:
    """Return all columns, read in batches that cannot become too large; texts are in memory each time."""
    sizes = parquet_pages.read_text_sizes(body)
    if sizes.pages > max_bytes:
        raise size_limits.too_large_error(max_bytes)
    file = parquet.ParquetFile(pa.BufferReader(body), pre_buffer=False)
    num_rows = max(1, file.metadata.num_rows)
    batch_rows = num_rows
    if sizes.total > max_bytes:
        batch_rows = max(1, max_bytes // (_BATCHES_IN_LIMIT * sizes.row))
        if num_rows > batch_rows * _MAX_BATCHES or _has_lists(file.schema):
            raise InvalidInput(
                f"The body's texts may become more than {max_bytes // 2**20} MiB in the encoding"
                " DELTA_BYTE_ARRAY; send fewer rows at a time, or write them in another encoding."
            )
    batches: list[pa.RecordBatch] = []
    size = 0
    for batch in file.iter_batches(batch_rows, use_threads=False, use_pandas_metadata=False):
        batches.append(batch)
        size += batch.nbytes
        if size > max_bytes:
            raise size_limits.too_large_error(max_bytes)
    return pa.Table.from_batches(batches, file.schema_arrow)


def _has_lists(schema: parquet.ParquetSchema) -> bool:
    columns = [schema.column(at) for at in range(len(schema))]
    return any(column.max_repetition_level and column.physical_type == "BYTE_ARRAY" for column in columns)


def _decode_with_mlflow(body: bytes) -> DecodedRequest:
    """Decode the body with the function of MLflow's scoring server."""
    try:
        return DecodedRequest(scoring_server.parse_parquet_input(BytesIO(body)))
    except MlflowException as error:
        raise InvalidInput("MLflow's own reader cannot read the body as Parquet.") from error
