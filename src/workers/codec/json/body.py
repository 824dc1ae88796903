"""JSON bodies: MLflow's four forms, the unified LLM form, and those of the replaced service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from mlflow.types.schema import AnyType, DataType

from workers.codec.inputs import inferred, tables, tensors
from workers.codec.inputs.frames import frame
from workers.codec.inputs.params import checked
from workers.codec.json import fast_numbers, legacy
from workers.codec.json import text as json_text
from workers.codec.request import Request
from workers.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.codec.signature import Plan
    from workers.protocol.messages import Job

_LLM_KEYS = frozenset({"messages", "prompt", "input"})
_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_WANTED = (
    "The body must be a JSON object with exactly one of dataframe_split, dataframe_records, instances "
    "or inputs, and optionally params."
)


def read(job: Job, plan: Plan) -> Request:
    """The body as data for the model. Raises InputRefused."""
    if (numbers := fast_numbers.frame_of(job.body, plan)) is not None:
        return Request(numbers)
    by_mlflow = plan.checks == "mlflow"
    document = json_text.parse_as_mlflow(job.body) if by_mlflow else json_text.parse(job.body)
    unified = isinstance(document, dict) and not _LLM_KEYS.isdisjoint(document)
    document = document if unified else legacy.as_mlflow(document)
    if not isinstance(document, dict):
        raise InvalidInput(_WANTED)
    if by_mlflow:
        return _by_mlflow(document, plan)
    if unified:
        return _unified_llm(document, plan)
    form = _form(document)
    params = checked(document.get("params"), plan)
    return Request(_READERS[form](document[form], plan, form), params)


def _form(document: dict[str, Any]) -> str:
    forms = [form for form in _FORMS if form in document]
    if len(forms) != 1:
        raise InvalidInput(_WANTED)
    if unknown := sorted(set(document) - {forms[0], "params"}):
        raise InvalidInput(f"{_WANTED} It also has {unknown[0][:100]!r}.")
    return forms[0]


def _split(payload: object, plan: Plan, form: str) -> object:
    _refuse_type_hinted(plan, form)
    return _tabular(tables.from_split(payload), plan)


def _records(payload: object, plan: Plan, form: str) -> object:
    _refuse_type_hinted(plan, form)
    return _tabular(tables.from_records(payload, known=_known(plan)), plan)


def _known(plan: Plan) -> frozenset[str] | None:
    """The names that a record may have, where the signature says so."""
    if not plan.named:
        return None
    return frozenset(column.name for column in plan.columns or () if column.name is not None)


def _tabular(table: tables.Table, plan: Plan) -> object:
    if plan.schema is None or plan.columns is not None:
        return frame(table, plan)
    return tensors.from_table(table, plan)


def _instances(payload: object, plan: Plan, form: str) -> object:
    _refuse_type_hinted(plan, form)
    return _values(payload, plan, form)


def _inputs(payload: object, plan: Plan, form: str) -> object:
    """Type hints are MLflow's to hold the payload against: it does so strictly, and converts nothing."""
    return payload if plan.type_hinted else _values(payload, plan, form)


def _values(payload: object, plan: Plan, form: str) -> object:
    if plan.schema is None:
        return inferred.data(payload, what=form)
    records = isinstance(payload, list) and bool(payload) and isinstance(payload[0], dict)
    if plan.columns is None:
        if records and isinstance(payload, list):
            return tensors.stacked(tables.only_objects(payload, what=form), plan, what=form)
        return tensors.tensors(payload, plan, what=form)
    return frame(_table(payload, plan, form, records=records), plan)


def _table(payload: object, plan: Plan, form: str, *, records: bool) -> tables.Table:
    """Rows, an object per row, or an object of columns; the rows of one nameless column are its cells."""
    if plan.cells:
        return tables.from_cells(payload if isinstance(payload, list) else [payload])
    if records:
        return tables.from_records(payload, what=form, known=_known(plan))
    if isinstance(payload, dict):
        return _columns_of(payload, plan, form)
    rows = payload if isinstance(payload, list) else [payload]
    if plan.lists:
        return tables.from_cells(rows if rows and isinstance(rows[0], list) else [rows])
    return tables.from_rows(rows, what=form)


def _columns_of(payload: dict[str, object], plan: Plan, form: str) -> tables.Table:
    """An object of columns; of one row where a column's own type is a list or an object, as in MLflow."""
    if plan.nested or all(_is_cell(name, value, plan) for name, value in payload.items()):
        return tables.from_records([payload], what=form)
    return tables.from_mapping(payload, what=form)


def _is_cell(name: str, value: object, plan: Plan) -> bool:
    if not isinstance(value, list):
        return True
    strings = all(isinstance(item, str) for item in value)
    return strings and any(
        column.name == name and isinstance(column.type, AnyType) for column in plan.columns or ()
    )


def _unified_llm(document: dict[str, Any], plan: Plan) -> Request:
    """MLflow's form for chat, completions and embeddings: the body itself is the input."""
    names = {spec.name for spec in plan.params.params} if plan.params is not None else set()
    data = {name: value for name, value in document.items() if name not in names}
    params = {name: value for name, value in document.items() if name in names}
    return Request(_conversation(data, plan), checked(params, plan), wrapped=False)


def _conversation(data: dict[str, Any], plan: Plan) -> object:
    """The body as one row of the signature's columns, where it has such; texts in a list stay a list."""
    if plan.type_hinted or not plan.named:
        return data
    texts = {
        column.name
        for column in plan.columns or ()
        if column.type == DataType.string and _is_texts(data.get(str(column.name)))
    }
    rest = {name: value[0] if name in texts else value for name, value in data.items()}
    made = frame(tables.from_records([rest], what="the body"), plan)
    return data if texts else made


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)


def _by_mlflow(document: dict[str, Any], plan: Plan) -> Request:
    """Everything as MLflow's scoring server does it, value for value."""
    try:
        parsed = scoring_server._parse_json_data(document, plan.metadata, plan.schema)  # noqa: SLF001 - the server's own function is the point
    except MlflowException as error:
        raise InvalidInput(f"MLflow's own checks refuse the body. {_WANTED}") from error
    except Exception as error:  # its parsers raise whatever pandas and numpy raise
        raise InvalidInput(f"MLflow's own parser cannot read the body. {_WANTED}") from error
    return Request(parsed.data, parsed.params, wrapped=not parsed.is_unified_llm_input)


def _refuse_type_hinted(plan: Plan, form: str) -> None:
    if plan.type_hinted:
        raise InvalidInput(f"This model's signature comes from type hints: send inputs, not {form}.")


_READERS: dict[str, Callable[[object, Plan, str], object]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _instances,
    "inputs": _inputs,
}
