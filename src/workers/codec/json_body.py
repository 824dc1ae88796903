"""JSON bodies: MLflow's four forms, the unified LLM form, and those of the replaced service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server

from workers.codec import legacy, tables, tensors
from workers.codec.params import checked
from workers.codec.request import Request
from workers.errors import InputRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.codec.plan import Plan

_LLM_KEYS = frozenset({"messages", "prompt", "input"})
_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_WANTED = (
    "The body must be a JSON object with exactly one of dataframe_split, dataframe_records, instances "
    "or inputs, and optionally params."
)


def read(body: bytes, plan: Plan) -> Request:
    """The body as data for the model. Raises InputRefused."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InputRefused(f"The body is not valid JSON: {error}.") from error
    document = legacy.as_mlflow(document)
    if not isinstance(document, dict):
        raise InputRefused(_WANTED)
    if plan.checks == "mlflow":
        return _by_mlflow(document, plan)
    if not _LLM_KEYS.isdisjoint(document):
        return _unified_llm(document, plan)
    form = _form(document)
    params = checked(document.get("params"), plan)
    return Request(_READERS[form](document[form], plan, form), params)


def _form(document: dict[str, Any]) -> str:
    forms = [form for form in _FORMS if form in document]
    if len(forms) != 1:
        raise InputRefused(_WANTED)
    if unknown := sorted(set(document) - {forms[0], "params"}):
        raise InputRefused(f"{_WANTED} It also has {unknown[0][:100]!r}.")
    return forms[0]


def _split(payload: object, plan: Plan, form: str) -> object:
    _refuse_type_hinted(plan, form)
    return _tabular(tables.from_split(payload), plan)


def _records(payload: object, plan: Plan, form: str) -> object:
    _refuse_type_hinted(plan, form)
    return _tabular(tables.from_records(payload), plan)


def _tabular(table: tables.Table, plan: Plan) -> object:
    if plan.schema is None or plan.columns is not None:
        return tables.frame(table, plan)
    if plan.schema.has_input_names() and table.names is not None:
        arrays = dict(zip(table.names, map(list, table.values), strict=True))
        return tensors.tensors(arrays, plan, what="the table")
    rows = [list(row) for row in zip(*table.values, strict=True)]
    return tensors.tensors(rows, plan, what="the table")


def _instances(payload: object, plan: Plan, form: str) -> object:
    """`instances` are rows; `inputs` are columns, or whatever a model with type hints takes."""
    _refuse_type_hinted(plan, form)
    return _values(payload, plan, form)


def _inputs(payload: object, plan: Plan, form: str) -> object:
    if plan.type_hinted:
        return payload
    return _values(payload, plan, form)


def _values(payload: object, plan: Plan, form: str) -> object:
    if plan.schema is None:
        return _mlflow_data({form: payload})
    records = isinstance(payload, list) and bool(payload) and isinstance(payload[0], dict)
    if plan.columns is None:
        if records and isinstance(payload, list):
            return tensors.stacked(tables.only_objects(payload, what=form), plan, what=form)
        return tensors.tensors(payload, plan, what=form)
    if records:
        return tables.frame(tables.from_records(payload, what=form), plan)
    if isinstance(payload, dict):
        return tables.frame(_columns_of(payload, plan, form), plan)
    rows = payload if isinstance(payload, list) else [payload]
    return tables.frame(tables.from_rows(rows, what=form), plan)


def _columns_of(payload: dict[str, object], plan: Plan, form: str) -> tables.Table:
    """An object of columns; of one row where a column's own type is an array or an object."""
    if plan.nested:
        return tables.from_records([payload], what=form)
    return tables.from_mapping(payload, what=form)


def _unified_llm(document: dict[str, Any], plan: Plan) -> Request:
    """MLflow's form for chat, completions and embeddings: the body itself is the input."""
    names = {spec.name for spec in plan.params.params} if plan.params is not None else set()
    data = {name: value for name, value in document.items() if name not in names}
    params = {name: value for name, value in document.items() if name in names}
    return Request(data, checked(params, plan), wrapped=False)


def _by_mlflow(document: dict[str, Any], plan: Plan) -> Request:
    """Everything as MLflow's scoring server does it, value for value."""
    try:
        parsed = scoring_server._parse_json_data(  # noqa: SLF001 - the server's own function is the point
            orjson.dumps(document).decode(), plan.metadata, plan.schema
        )
    except MlflowException as error:
        raise InputRefused(f"MLflow's own checks refuse the body. {_WANTED}") from error
    except Exception as error:  # its parsers raise whatever pandas and numpy raise
        raise InputRefused(f"MLflow's own parser cannot read the body. {_WANTED}") from error
    return Request(parsed.data, parsed.params, wrapped=not parsed.is_unified_llm_input)


def _mlflow_data(document: dict[str, Any]) -> object:
    try:
        return scoring_server.infer_and_parse_data(document)
    except MlflowException as error:
        raise InputRefused("The values form no array: rows may differ in length.") from error


def _refuse_type_hinted(plan: Plan, form: str) -> None:
    if plan.type_hinted:
        raise InputRefused(f"This model's signature comes from type hints: send inputs, not {form}.")


_READERS: dict[str, Callable[[object, Plan, str], object]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _instances,
    "inputs": _inputs,
}
