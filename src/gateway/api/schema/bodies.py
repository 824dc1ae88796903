"""The JSON bodies that a signature allows, each form as a schema of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.api.schema.columns import Columns, is_scalar, parse_columns
from gateway.api.schema.params import params_schema, parse_params
from gateway.api.schema.tensors import Tensor, parse_tensors
from gateway.api.schema.types import JsonSchema, column_schema, ref

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.domain.mlmodel import Signature

LLM_KEYS: Final = ("messages", "prompt", "input")
IGNORED_KEYS: Final = ("client_request_id", "databricks_options", "model", "signature_name")
_IGNORED: Final = f"^({'|'.join(IGNORED_KEYS)})$"
_ANY_LIST: Final[JsonSchema] = {"type": "array", "items": {}}
_ANY_OBJECT: Final[JsonSchema] = {"type": "object"}


@dataclass(slots=True)
class Bodies:
    """The forms of a version's body.

    `schemas` has them and their parts by name; `forms` are the names of those that are whole bodies.
    """

    schemas: dict[str, JsonSchema] = field(default_factory=dict)
    forms: list[str] = field(default_factory=list)
    tables: bool = True  # whether CSV, Parquet and Arrow are taken too
    header: tuple[str, ...] = ()  # the columns of a CSV file
    unwrapped: bool = False  # whether a form is answered by the model's own answer alone
    note: str = ""

    def add(self, name: str, **properties: JsonSchema) -> None:
        """Add a form: an object with these properties, the first of them required."""
        first, *_ = properties
        extra: JsonSchema = {_IGNORED: {}}
        if first in _TF_FORMATS:
            extra["^format$"] = {"const": _TF_FORMATS[first]}
        self.schemas[name] = {
            "type": "object",
            "required": [first],
            "properties": {**properties, "params": _params_or_null()},
            "patternProperties": extra,
            "additionalProperties": False,
        }
        self.forms.append(name)


_TF_FORMATS: Final = {"instances": "tf-instances", "inputs": "tf-inputs"}


def build_bodies(signature: Signature | None) -> Bodies:
    """Return the forms of a body for a version with this signature."""
    inputs = signature.inputs if signature else None
    params = parse_params(signature.params if signature else None)
    if signature is not None and signature.from_type_hints:
        return _typed_bodies(inputs, params)
    if (columns := parse_columns(inputs)) is None:
        return _open_bodies(params)
    if (tensors := parse_tensors(inputs)) is not None:
        return _tensor_bodies(tensors, params)
    return _column_bodies(columns, params)


def _params_or_null() -> JsonSchema:
    return {"anyOf": [ref("Params"), {"type": "null"}]}


def _open_bodies(params: Mapping[str, JsonSchema]) -> Bodies:
    """Return every form, and any data in it: the model has no signature of its inputs."""
    bodies = Bodies(unwrapped=True, note=_NO_SIGNATURE)
    bodies.schemas |= {
        "Params": params_schema(params),
        "Records": {"type": "array", "minItems": 1, "items": dict(_ANY_OBJECT)},
        "Split": _any_split(),
    }
    _add_table_forms(bodies)
    bodies.add("InstancesBody", instances={})
    bodies.add("InputsBody", inputs={})
    _add_replaced_forms(bodies)
    bodies.schemas["LanguageModelBody"] = {
        "type": "object",
        "description": "The unified form of language models: the whole body is the model's input.",
        "anyOf": [{"required": [key]} for key in LLM_KEYS],
    }
    bodies.forms.append("LanguageModelBody")
    return bodies


def _typed_bodies(inputs: object, params: Mapping[str, JsonSchema]) -> Bodies:
    bodies = Bodies(tables=False, note=_TYPE_HINTS)
    bodies.schemas["Params"] = params_schema(params)
    specs = [spec for spec in inputs if isinstance(spec, dict)] if isinstance(inputs, list) else []
    items = column_schema(specs[0]) if len(specs) == 1 and specs[0].get("name") is None else {}
    bodies.add("InputsBody", inputs={"type": "array", "items": items})
    return bodies


def _column_bodies(columns: Columns, params: Mapping[str, JsonSchema]) -> Bodies:
    bodies = Bodies()
    if not columns.are_possible:
        return _impossible_bodies(params)
    if columns.are_named and all(map(is_scalar, columns.columns)):
        bodies.header = columns.names
    bodies.schemas |= {
        "Params": params_schema(params),
        "Row": columns.row(),
        "Records": {"type": "array", "minItems": 1, "items": ref("Row")},
        "Split": columns.split(),
    }
    _add_table_forms(bodies)
    payload: JsonSchema = {"anyOf": _payloads(columns, bodies)}
    bodies.add("InstancesBody", instances=payload)
    bodies.add("InputsBody", inputs=payload)
    _add_replaced_forms(bodies)
    if columns.are_named and not set(LLM_KEYS).isdisjoint(columns.names):
        _add_language_model_form(bodies, columns, params)
    return bodies


def _payloads(columns: Columns, bodies: Bodies) -> list[JsonSchema]:
    """Return what `instances` and `inputs` may hold."""
    found: list[JsonSchema] = []
    if columns.takes_objects:
        found += [ref("Records"), ref("Row")]
        if not columns.have_nested:
            bodies.schemas["Lists"] = columns.lists()
            found.append(ref("Lists"))
    return found + columns.payloads()


def _tensor_bodies(tensors: tuple[Tensor, ...], params: Mapping[str, JsonSchema]) -> Bodies:
    bodies = Bodies()
    bodies.schemas["Params"] = params_schema(params)
    forms: list[JsonSchema] = []
    named = {tensor.name: tensor for tensor in tensors if tensor.name}
    if named:
        names = list(named)
        bodies.schemas["Tensors"] = _object_of(names, [tensor.schema() for tensor in named.values()])
        rows = _object_of(names, [tensor.schema(skipped=1) for tensor in named.values()])
        bodies.schemas["TensorRows"] = {"type": "array", "minItems": 1, "items": rows}
        forms += [ref("Tensors"), ref("TensorRows")]
    if len(tensors) == 1:
        bodies.schemas["Tensor"] = tensors[0].schema()
        forms.append(ref("Tensor"))
    payload: JsonSchema = forms[0] if len(forms) == 1 else {"anyOf": forms}
    bodies.add("InstancesBody", instances=payload)
    bodies.add("InputsBody", inputs=payload)
    bodies.schemas["Records"] = {"type": "array", "minItems": 1, "items": dict(_ANY_OBJECT)}
    text = "Columns of scalars, or of flat lists, which get the shape of the signature."
    bodies.schemas["Split"] = {**_any_split(), "description": text}
    _add_table_forms(bodies)
    _add_replaced_forms(bodies)
    return bodies


def _impossible_bodies(params: Mapping[str, JsonSchema]) -> Bodies:
    bodies = Bodies(note=_IMPOSSIBLE, tables=False)
    bodies.schemas |= {"Params": params_schema(params), "Impossible": {"not": {}}}
    bodies.forms.append("Impossible")
    return bodies


def _any_split() -> JsonSchema:
    """Return the schema of columns and rows apart, of any names and values."""
    return {
        "type": "object",
        "required": ["data"],
        "properties": {
            "columns": {"type": ["array", "null"], "items": {"type": ["string", "number"]}},
            "data": {"type": "array", "items": dict(_ANY_LIST)},
            "index": {"type": ["array", "null"], "items": {}},
        },
        "additionalProperties": False,
    }


def _add_table_forms(bodies: Bodies) -> None:
    bodies.add("RecordsBody", dataframe_records=ref("Records"))
    bodies.add("SplitBody", dataframe_split=ref("Split"))


def _add_replaced_forms(bodies: Bodies) -> None:
    """Add the forms of the service that this one replaces."""
    bodies.add("RecordBody", record=ref("Records"))
    old = bodies.schemas["RecordBody"]
    old["patternProperties"] = {_IGNORED: {}, "^format$": {"const": "pandas_record"}}
    split = bodies.schemas["Split"]
    parts = split["properties"]
    bodies.schemas["ColumnsBody"] = {
        "type": "object",
        "required": ["columns", "data"],
        "properties": {**(parts if isinstance(parts, dict) else {}), "params": _params_or_null()},
        "patternProperties": {_IGNORED: {}, "^format$": {"const": "pandas_split"}},
        "additionalProperties": False,
    }
    if "not" in split:
        bodies.schemas["ColumnsBody"]["not"] = split["not"]
    bodies.forms += ["ColumnsBody", "Records"]


def _add_language_model_form(bodies: Bodies, columns: Columns, params: Mapping[str, JsonSchema]) -> None:
    """Add the form where the whole body is one row, with the params beside its columns."""
    properties: dict[str, JsonSchema] = {}
    for column in columns.columns:
        schema = column.schema
        if column.kind == "string":
            schema = {"anyOf": [schema, {"type": "array", "minItems": 1, "items": {"type": "string"}}]}
        properties[str(column.name)] = schema
    required = [str(column.name) for column in columns.columns if column.required]
    given = [key for key in LLM_KEYS if key in properties]
    form: JsonSchema = {
        "type": "object",
        "description": "The unified form of language models; the answer is the model's own.",
        "properties": {**properties, **params},
        "patternProperties": {_IGNORED: {}},
        "additionalProperties": False,
    }
    if required:
        form["required"] = required
    if not set(given) & set(required):
        form["anyOf"] = [{"required": [key]} for key in given]
    bodies.schemas["LanguageModelBody"] = form
    bodies.forms.insert(0, "LanguageModelBody")
    bodies.unwrapped = True


def _object_of(names: list[str], schemas: list[JsonSchema]) -> JsonSchema:
    return {
        "type": "object",
        "properties": dict(zip(names, schemas, strict=True)),
        "required": names,
        "additionalProperties": False,
    }


_NO_SIGNATURE: Final = (
    "This version has no signature of its inputs, so any data in one of the forms is sent to the model. "
    "Log the model with a signature, and this document has its columns and types."
)
_TYPE_HINTS: Final = (
    "The signature comes from the type hints of the model's code. MLflow checks `inputs` against these, and "
    "may convert values that this document does not allow."
)
_IMPOSSIBLE: Final = (
    "No body can name all inputs of this version: a name of its signature is neither text nor a number, or "
    "two names are the same. Each body is answered with 400."
)
