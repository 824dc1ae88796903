"""Bodies in CSV: a header line, and cells whose types the signature gives."""

from __future__ import annotations

from io import BytesIO, StringIO
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from mlflow.types.schema import TensorSpec
from packaging.version import Version

from workers.codec.csv import cells as csv_cells
from workers.codec.csv import table as csv_table
from workers.codec.input_errors import requires_inputs_form
from workers.codec.inputs import tensors
from workers.codec.inputs.frames import to_frame
from workers.codec.inputs.params import validate_params
from workers.codec.inputs.tables import Table
from workers.codec.request import DecodedRequest
from workers.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from workers.codec.signature import InputSpec
    from workers.protocol.messages import Job

# From pandas 3.1 on there is but one way, the exact one, and to name it warns.
_READ_CSV_OPTIONS: Final[dict[str, Any]] = (
    {} if Version(pd.__version__) >= Version("3.1") else {"float_precision": "round_trip"}
)
_CELL_PARSERS: Final[dict[str, Callable[[str | None], object]]] = {
    "b": csv_cells.parse_boolean,
    "i": csv_cells.parse_number,
    "u": csv_cells.parse_number,
    "f": csv_cells.parse_decimal,
}


def decode(job: Job, spec: InputSpec) -> DecodedRequest:
    """The body as data for the model. Raises InputRefused."""
    if spec.input_checks == "mlflow":
        return _decode_with_mlflow(job.body, spec)
    if spec.type_hinted:
        raise requires_inputs_form("CSV")
    return DecodedRequest(_to_model_input(job.body, spec), validate_params(None, spec))


def _to_model_input(body: bytes, input_spec: InputSpec) -> Any:
    parsed = csv_table.parse_table(body)
    if input_spec.schema is None:
        return _infer_frame(body, parsed)
    if input_spec.columns is not None:
        return to_frame(_build_table(parsed, [_as_text] * parsed.num_columns), input_spec)
    kinds = {spec.name: spec.type.kind for spec in input_spec.schema.inputs if isinstance(spec, TensorSpec)}
    every = kinds.get(None)
    reads = [_CELL_PARSERS.get(every or kinds.get(name) or "O", _as_text) for name in parsed.column_names]
    return tensors.table_to_tensors(_build_table(parsed, reads), input_spec)


def _build_table(parsed: pa.Table, reads: list[Callable[[str | None], object]]) -> Table:
    sources = [
        csv_cells.CsvColumn(column, parse_cell=read)
        for column, read in zip(parsed.itercolumns(), reads, strict=True)
    ]
    return Table(tuple(parsed.column_names), tuple(sources), parsed.num_rows)


def _as_text(text: str | None) -> object:
    return text


def _infer_frame(body: bytes, parsed: pa.Table) -> pd.DataFrame:
    """Types as pandas infers them (007 is 7, NA is missing), every decimal the double nearest to it."""
    try:
        made: pd.DataFrame = pd.read_csv(
            BytesIO(body),
            low_memory=False,
            **_READ_CSV_OPTIONS,
            index_col=False,
            skip_blank_lines=parsed.num_columns > 1,
        )
    except (ValueError, OverflowError) as error:  # pandas' own parser errors are of these
        raise InvalidInput("pandas cannot read the body as CSV.") from error
    if made.shape != (parsed.num_rows, parsed.num_columns):
        raise InvalidInput("The body's lines cannot be told apart for sure.")
    made.columns = pd.Index(parsed.column_names)
    return made


def _decode_with_mlflow(body: bytes, spec: InputSpec) -> DecodedRequest:
    """As MLflow's scoring server reads it."""
    try:
        return DecodedRequest(scoring_server.parse_csv_input(StringIO(body.decode()), schema=spec.schema))  # type: ignore[arg-type] # None is its default
    except (MlflowException, ValueError) as error:
        raise InvalidInput("MLflow's own reader cannot read the body as CSV.") from error
