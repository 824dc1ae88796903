"""CSV request bodies: a header line, and cells whose types the signature gives."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO, StringIO
from typing import Any, Final

import pandas as pd
import pyarrow as pa
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from packaging.version import Version

from workers.codec.csv import cells as csv_cells
from workers.codec.csv import table as csv_table
from workers.codec.input_errors import requires_inputs_form
from workers.codec.inputs import tensors
from workers.codec.inputs.frames import to_frame
from workers.codec.inputs.params import validate_params
from workers.codec.inputs.tables import Table
from workers.codec.json.structure import check_structure
from workers.codec.request import DecodedRequest
from workers.codec.signature import InputSpec
from workers.errors import InvalidInput
from workers.protocol.messages import Job

CellParser = Callable[[str | None], object]

# From pandas 3.1 on all floats are parsed exactly, and the option is deprecated.
_READ_CSV_OPTIONS: Final[dict[str, Any]] = (
    {} if Version(pd.__version__) >= Version("3.1") else {"float_precision": "round_trip"}
)
_CELL_PARSERS: Final[dict[str, CellParser]] = {
    "b": csv_cells.parse_boolean,
    "i": csv_cells.parse_number,
    "u": csv_cells.parse_number,
    "f": csv_cells.parse_decimal,
}  # by the kind of a numpy dtype


def decode(job: Job, spec: InputSpec) -> DecodedRequest:
    """Decode a CSV body. Raises InvalidInput."""
    if spec.input_checks == "mlflow":
        return _decode_with_mlflow(job.body, spec)
    if spec.type_hinted:
        raise requires_inputs_form("CSV")
    return DecodedRequest(_to_model_input(job.body, spec), validate_params(None, spec))


def _to_model_input(body: bytes, spec: InputSpec) -> Any:
    if spec.has_nested_columns:
        check_structure(body, in_strings=True)  # their cells are JSON
    parsed = csv_table.parse_table(body)
    if spec.schema is None:
        return _infer_frame(body, parsed)
    if spec.columns is not None:
        return to_frame(_to_table(parsed, [csv_cells.keep_text] * parsed.num_columns), spec)
    specs = tensors.tensor_specs(spec)
    kinds = {str(tensor.name): tensor.type.kind for tensor in specs}
    unnamed = specs[0].type.kind if specs[0].name is None else None
    parsers = [
        _CELL_PARSERS.get(unnamed or kinds.get(name) or "O", csv_cells.keep_text)
        for name in parsed.column_names
    ]
    return tensors.table_to_tensors(_to_table(parsed, parsers), spec)


def _to_table(parsed: pa.Table, parsers: list[CellParser]) -> Table:
    columns = [
        csv_cells.CsvColumn(column, parse_cell=parser)
        for column, parser in zip(parsed.itercolumns(), parsers, strict=True)
    ]
    return Table(tuple(parsed.column_names), tuple(columns), parsed.num_rows)


def _infer_frame(body: bytes, parsed: pa.Table) -> pd.DataFrame:
    """Return a frame of the types that pandas infers (007 is 7, NA is missing), each decimal exact."""
    try:
        frame: pd.DataFrame = pd.read_csv(
            BytesIO(body),
            low_memory=False,
            **_READ_CSV_OPTIONS,
            index_col=False,
            skip_blank_lines=parsed.num_columns > 1,
        )
    except (ValueError, OverflowError) as error:  # the base classes of pandas' parser errors
        raise InvalidInput("pandas cannot read the body as CSV.") from error
    if frame.shape != (parsed.num_rows, parsed.num_columns):
        raise InvalidInput("The lines of the body are ambiguous.")
    frame.columns = pd.Index(parsed.column_names)
    return frame


def _decode_with_mlflow(body: bytes, spec: InputSpec) -> DecodedRequest:
    """Decode the body with the function of MLflow's scoring server."""
    try:
        return DecodedRequest(scoring_server.parse_csv_input(StringIO(body.decode()), schema=spec.schema))  # type: ignore[arg-type] # None is its default
    except (MlflowException, ValueError) as error:
        raise InvalidInput("MLflow's own reader cannot read the body as CSV.") from error
