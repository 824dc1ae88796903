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
from workers.codec.input_errors import type_hinted
from workers.codec.inputs import tensors
from workers.codec.inputs.frames import frame
from workers.codec.inputs.params import checked
from workers.codec.inputs.tables import Table
from workers.codec.request import Request
from workers.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from workers.codec.signature import Plan
    from workers.protocol.messages import Job

# From pandas 3.1 on there is but one way, the exact one, and to name it warns.
_EXACT: Final[dict[str, Any]] = (
    {} if Version(pd.__version__) >= Version("3.1") else {"float_precision": "round_trip"}
)
_NUMBERS: Final[dict[str, Callable[[str | None], object]]] = {
    "b": csv_cells.boolean,
    "i": csv_cells.number,
    "u": csv_cells.number,
    "f": csv_cells.decimal,
}


def read(job: Job, plan: Plan) -> Request:
    """The body as data for the model. Raises InputRefused."""
    if plan.checks == "mlflow":
        return _by_mlflow(job.body, plan)
    if plan.type_hinted:
        raise type_hinted("CSV")
    return Request(_data(job.body, plan), checked(None, plan))


def _data(body: bytes, plan: Plan) -> Any:
    parsed = csv_table.parse(body)
    if plan.schema is None:
        return _inferred(body, parsed)
    if plan.columns is not None:
        return frame(_table(parsed, [_as_text] * parsed.num_columns), plan)
    kinds = {spec.name: spec.type.kind for spec in plan.schema.inputs if isinstance(spec, TensorSpec)}
    every = kinds.get(None)
    reads = [_NUMBERS.get(every or kinds.get(name) or "O", _as_text) for name in parsed.column_names]
    return tensors.from_table(_table(parsed, reads), plan)


def _table(parsed: pa.Table, reads: list[Callable[[str | None], object]]) -> Table:
    sources = [
        csv_cells.TextSource(column, natural=read)
        for column, read in zip(parsed.itercolumns(), reads, strict=True)
    ]
    return Table(tuple(parsed.column_names), tuple(sources), parsed.num_rows)


def _as_text(text: str | None) -> object:
    return text


def _inferred(body: bytes, parsed: pa.Table) -> pd.DataFrame:
    """Types as pandas infers them (007 is 7, NA is missing), every decimal the double nearest to it."""
    try:
        made: pd.DataFrame = pd.read_csv(
            BytesIO(body),
            low_memory=False,
            **_EXACT,
            index_col=False,
            skip_blank_lines=parsed.num_columns > 1,
        )
    except (ValueError, OverflowError) as error:  # pandas' own parser errors are of these
        raise InvalidInput("pandas cannot read the body as CSV.") from error
    if made.shape != (parsed.num_rows, parsed.num_columns):
        raise InvalidInput("The body's lines cannot be told apart for sure.")
    made.columns = pd.Index(parsed.column_names)
    return made


def _by_mlflow(body: bytes, plan: Plan) -> Request:
    """As MLflow's scoring server reads it."""
    try:
        return Request(scoring_server.parse_csv_input(StringIO(body.decode()), schema=plan.schema))  # type: ignore[arg-type] # None is its default
    except (MlflowException, ValueError) as error:
        raise InvalidInput("MLflow's own reader cannot read the body as CSV.") from error
