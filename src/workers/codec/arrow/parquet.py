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
from workers.codec.input_errors import type_hinted
from workers.codec.inputs.params import checked
from workers.codec.request import Request
from workers.errors import InvalidInput

if TYPE_CHECKING:
    from workers.codec.signature import Plan
    from workers.protocol.messages import Job


def read(job: Job, plan: Plan) -> Request:
    """The body as data for the model. Raises InputRefused."""
    most = size_limits.limit(job.body)
    if parquet_footer.read(job.body).size > most:
        raise size_limits.too_large(most)
    if plan.checks == "mlflow":
        return _by_mlflow(job.body)
    if plan.type_hinted:
        raise type_hinted("a Parquet table")
    return Request(arrow_tables.data(_table(job.body), plan, most=most), checked(None, plan))


def _table(body: bytes) -> pa.Table:
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
        raise parquet_footer.not_parquet() from error


def _by_mlflow(body: bytes) -> Request:
    """As MLflow's scoring server reads it."""
    try:
        return Request(scoring_server.parse_parquet_input(BytesIO(body)))
    except MlflowException as error:
        raise InvalidInput("MLflow's own reader cannot read the body as Parquet.") from error
