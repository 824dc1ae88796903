"""JSON request bodies: MLflow's four forms, the unified LLM form, and those of the replaced service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from mlflow.types.schema import AnyType, DataType

from workers.codec.inputs import inferred, tables, tensors
from workers.codec.inputs.frames import to_frame
from workers.codec.inputs.params import param_names, validate_params
from workers.codec.json import fast_numbers, legacy
from workers.codec.json import text as json_text
from workers.codec.json.legacy import IGNORED_KEYS
from workers.codec.request import DecodedRequest
from workers.codec.signature import InputSpec
from workers.errors import InvalidInput
from workers.protocol.messages import Job

_LLM_KEYS = frozenset({"messages", "prompt", "input"})
_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_EXPECTED_BODY = (
    "The body must be a JSON object with exactly one of dataframe_split, dataframe_records, instances "
    "or inputs, and optionally params."
)


def decode(job: Job, spec: InputSpec) -> DecodedRequest:
    """Decode a JSON body. Raises InvalidInput."""
    if (frame := fast_numbers.read_numeric_frame(job.body, spec)) is not None:
        return DecodedRequest(frame)
    by_mlflow = spec.input_checks == "mlflow"
    document = json_text.parse_json_like_mlflow(job.body) if by_mlflow else json_text.parse_json(job.body)
    is_llm = isinstance(document, dict) and not _LLM_KEYS.isdisjoint(document)
    document = document if is_llm else legacy.to_mlflow_form(document)
    if not isinstance(document, dict):
        raise InvalidInput(_EXPECTED_BODY)
    if by_mlflow:
        return _decode_with_mlflow(document, spec)
    if is_llm:
        return _decode_unified_llm(document, spec)
    form = _find_form(document)
    params = validate_params(document.get("params"), spec)
    return DecodedRequest(_FORM_DECODERS[form](document[form], spec, form), params)


def _find_form(document: dict[str, Any]) -> str:
    forms = [form for form in _FORMS if form in document]
    if len(forms) != 1:
        raise InvalidInput(_EXPECTED_BODY)
    if unknown := sorted(set(document) - {forms[0], "params"} - IGNORED_KEYS):
        raise InvalidInput(f"{_EXPECTED_BODY} It also has {unknown[0][:100]!r}.")
    return forms[0]


def _decode_split(payload: object, spec: InputSpec, form: str) -> object:
    _reject_type_hinted(spec, form)
    return _table_to_input(tables.from_split(payload), spec)


def _decode_records(payload: object, spec: InputSpec, form: str) -> object:
    _reject_type_hinted(spec, form)
    return _table_to_input(tables.from_records(payload, known=_known_columns(spec)), spec)


def _decode_instances(payload: object, spec: InputSpec, form: str) -> object:
    _reject_type_hinted(spec, form)
    return _payload_to_input(payload, spec, form)


def _decode_inputs(payload: object, spec: InputSpec, form: str) -> object:
    """Decode `inputs`; MLflow itself checks the payload against type hints, and converts nothing."""
    return payload if spec.type_hinted else _payload_to_input(payload, spec, form)


def _known_columns(spec: InputSpec) -> frozenset[str] | None:
    """Return the names that a record may have, or None if the signature names no columns."""
    if not spec.has_column_names:
        return None
    return frozenset(column.name for column in spec.columns or () if column.name is not None)


def _table_to_input(table: tables.Table, spec: InputSpec) -> object:
    if spec.schema is None or spec.columns is not None:
        return to_frame(table, spec)
    return tensors.table_to_tensors(table, spec)


def _payload_to_input(payload: object, spec: InputSpec, form: str) -> object:
    if spec.schema is None:
        return inferred.infer_payload(payload, what=form)
    records = payload if isinstance(payload, list) and payload and isinstance(payload[0], dict) else None
    if spec.columns is not None:
        return to_frame(_to_table(payload, spec, form, is_records=records is not None), spec)
    if records is not None:
        return tensors.records_to_tensors(tables.require_objects(records, what=form), spec, what=form)
    return tensors.to_tensors(payload, spec, what=form)


def _to_table(payload: object, spec: InputSpec, form: str, *, is_records: bool) -> tables.Table:
    """Return the table of rows, of records, of an object of columns, or of the cells of an unnamed column."""
    if spec.single_object_column:
        return tables.from_cells(payload if isinstance(payload, list) else [payload])
    if is_records:
        return tables.from_records(payload, what=form, known=_known_columns(spec))
    if isinstance(payload, dict):
        return _mapping_to_table(payload, spec, form)
    rows = payload if isinstance(payload, list) else [payload]
    if spec.single_list_column:
        return tables.from_cells(rows if rows and isinstance(rows[0], list) else [rows])
    return tables.from_rows(rows, what=form)


def _mapping_to_table(payload: dict[str, object], spec: InputSpec, form: str) -> tables.Table:
    """Return the table of an object of columns; of one row if a column's type is nested, as in MLflow."""
    if spec.has_nested_columns or all(_is_single_value(name, value, spec) for name, value in payload.items()):
        return tables.from_records([payload], what=form)
    return tables.from_mapping(payload, what=form)


def _is_single_value(name: str, value: object, spec: InputSpec) -> bool:
    if not isinstance(value, list):
        return True
    strings = all(isinstance(item, str) for item in value)
    return strings and any(
        column.name == name and isinstance(column.type, AnyType) for column in spec.columns or ()
    )


def _decode_unified_llm(document: dict[str, Any], spec: InputSpec) -> DecodedRequest:
    """Decode MLflow's form for chat, completions and embeddings: the body itself is the input."""
    names = param_names(spec)
    data = {name: value for name, value in document.items() if name not in names}
    params = {name: value for name, value in document.items() if name in names}
    return DecodedRequest(_llm_to_input(data, spec), validate_params(params, spec), wrapped=False)


def _llm_to_input(data: dict[str, Any], spec: InputSpec) -> object:
    """Return the body as a frame if the signature names columns; a list of texts stays a list.

    It has one row, or one for each entry of the lists in columns of any type, as `inputs` has.
    """
    if spec.type_hinted or not spec.has_column_names:
        return data
    text_lists = {
        column.name
        for column in spec.columns or ()
        if column.type == DataType.string and _is_text_list(data.get(str(column.name)))
    }
    known = _known_columns(spec) or ()
    row = {
        name: value[0] if name in text_lists else value
        for name, value in data.items()
        if name in known or name not in IGNORED_KEYS
    }
    frame = to_frame(_mapping_to_table(row, spec, "the body"), spec)
    return data if text_lists else frame


def _is_text_list(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)


def _decode_with_mlflow(document: dict[str, Any], spec: InputSpec) -> DecodedRequest:
    """Decode the body with the functions of MLflow's scoring server."""
    inferred.check_array_count(document.get("inputs"))
    if spec.schema is None:
        split = document.get("dataframe_split")
        inferred.check_width(split.get("data") if isinstance(split, dict) else None)
        inferred.check_width(document.get("dataframe_records"))
    try:
        parsed = scoring_server._parse_json_data(document, spec.metadata, spec.schema)  # noqa: SLF001 - the server's own function is the point
    except MlflowException as error:
        raise InvalidInput(f"MLflow's own checks refuse the body. {_EXPECTED_BODY}") from error
    except Exception as error:  # its parsers raise whatever pandas and numpy raise
        raise InvalidInput(f"MLflow's own parser cannot read the body. {_EXPECTED_BODY}") from error
    return DecodedRequest(parsed.data, parsed.params, wrapped=not parsed.is_unified_llm_input)


def _reject_type_hinted(spec: InputSpec, form: str) -> None:
    if spec.type_hinted:
        raise InvalidInput(f"This model's signature comes from type hints: send inputs, not {form}.")


_FORM_DECODERS: dict[str, Callable[[object, InputSpec, str], object]] = {
    "dataframe_split": _decode_split,
    "dataframe_records": _decode_records,
    "instances": _decode_instances,
    "inputs": _decode_inputs,
}
