"""Bodies in Parquet: columns by name."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import pyarrow as pa
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from pyarrow import parquet

from workers.codec.arrow import parquet_footer, size_limits
from workers.codec.arrow import tables as arrow_tables
from workers.codec.input_errors import requires_inputs_form
from workers.codec.inputs.params import validate_params
from workers.codec.request import DecodedRequest
from workers.errors import InvalidInput

if TYPE_CHECKING:
    from workers.codec.signature import InputSpec
    from workers.protocol.messages import Job


def decode(job: Job, spec: InputSpec) -> DecodedRequest:
    """The body as data for the model. Raises InputRefused."""
    most = size_limits.max_decoded_bytes(job.body)
    if parquet_footer.read_footer(job.body).decoded_size > most:
        raise size_limits.too_large_error(most)
    if spec.input_checks == "mlflow":
        return _decode_with_mlflow(job.body)
    if spec.type_hinted:
        raise requires_inputs_form("a Parquet table")
    return DecodedRequest(
        arrow_tables.to_model_input(_read_table(job.body), spec, max_bytes=most), validate_params(None, spec)
    )


def _read_table(body: bytes) -> pa.Table:
    """All columns; texts as dictionaries, so that none stands in memory as often as it stands in the file."""
    try:
        metadata = parquet.read_metadata(pa.BufferReader(body))
        columns = [metadata.schema.column(at) for at in range(metadata.num_columns)]
        texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
        file = parquet.ParquetFile(
            pa.BufferReader(body), metadata=metadata, read_dictionary=texts, pre_buffer=False
        )
        return file.read(use_threads=False, use_pandas_metadata=False)
    except Exception as error:  # a damaged file raises whatever pyarrow's parts do
        raise parquet_footer.not_parquet_error() from error


def _decode_with_mlflow(body: bytes) -> DecodedRequest:
    """As MLflow's scoring server reads it."""
    try:
        return DecodedRequest(scoring_server.parse_parquet_input(BytesIO(body)))
    except MlflowException as error:
        raise InvalidInput("MLflow's own reader cannot read the body as Parquet.") from error
