"""Parquet: request bodies with columns by name, and predictions as a file."""

from __future__ import annotations

from io import BytesIO

import pyarrow as pa
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from pyarrow import parquet

from workers.codec.arrow import answer, parquet_footer, size_limits
from workers.codec.arrow.tables import to_model_input
from workers.codec.input_errors import requires_inputs_form
from workers.codec.inputs.params import validate_params
from workers.codec.request import DecodedRequest, EncodedResponse
from workers.codec.signature import InputSpec
from workers.errors import InvalidInput
from workers.protocol.messages import PARQUET, Job


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
        to_model_input(_read_table(job.body), spec, max_bytes=max_bytes), validate_params(None, spec)
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


def _read_table(body: bytes) -> pa.Table:
    """Return all columns; texts as dictionaries, so that each is in memory only as often as in the file."""
    try:
        metadata = parquet.read_metadata(pa.BufferReader(body))
        columns = [metadata.schema.column(at) for at in range(metadata.num_columns)]
        texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
        file = parquet.ParquetFile(
            pa.BufferReader(body), metadata=metadata, read_dictionary=texts, pre_buffer=False
        )
        return file.read(use_threads=False, use_pandas_metadata=False)
    except Exception as error:  # pyarrow raises many types for a damaged file
        raise parquet_footer.not_parquet_error() from error


def _decode_with_mlflow(body: bytes) -> DecodedRequest:
    """Decode the body with the function of MLflow's scoring server."""
    try:
        return DecodedRequest(scoring_server.parse_parquet_input(BytesIO(body)))
    except MlflowException as error:
        raise InvalidInput("MLflow's own reader cannot read the body as Parquet.") from error
