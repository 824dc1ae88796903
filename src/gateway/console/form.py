"""The form of a version: its controls by the signature, filled with the input example.

Both come from who registered the model: nothing in them is taken for granted, and the form is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Final

from gateway.console import json_text, text
from gateway.console.example_rows import MAX_CHARS, find_payload, find_rows
from gateway.console.signature import describe_type

MAX_COLUMNS: Final = 200
_MAX_PARAMS: Final = 100
_MAX_NAME_CHARS: Final = 500
_MAX_SUGGESTIONS: Final = 20
_MAX_TEMPLATE_CELLS: Final = 1_000
_MAX_DIMENSIONS: Final = 8
_MAX_TYPE_CHARS: Final = 80
_CONTROLS: Final[Mapping[object, str]] = {
    "double": "decimal",
    "float": "decimal",
    "long": "integer",
    "integer": "integer",
    "boolean": "boolean",
    "string": "text",
    "datetime": "datetime",
    "binary": "binary",
}
_CHAT_COLUMNS: Final = ("messages", "input")

Form = dict[str, Any]


def build_form(signature: object, input_example: object) -> Form:
    """Return the form of a version in values that JSON has.

    `signature` is that of `GET /model/{name}/{version}`, or None. `input_example` is the text of the JSON,
    which keeps the digits of numbers, or what it holds. `kind` says what the form is:

    table    `columns` and `rows`, each a list of texts or None; sent as `body` says
    tensors  `tensors`, each with its shape, element type and JSON
    chat     `messages`, under `field` of the body, and `others`, the JSON of the example's other fields
    json     `example`, the text of a body: without a signature, or with more columns than a form can have

    `has_example` says whether it is filled with the example.
    """
    parts: Mapping[Any, Any] = signature if isinstance(signature, Mapping) else {}
    try:
        example = json_text.parse(input_example)
    except ValueError:
        example = None
    form = _inputs_form(parts.get("inputs"), example)
    has_example = bool(form["rows"]) if form["kind"] == "table" else example is not None
    return {**form, "has_example": has_example, "params": _params(parts.get("params"), example)}


def _inputs_form(inputs: object, example: object) -> Form:
    specs = inputs if isinstance(inputs, list) else []
    if not specs or not all(isinstance(spec, Mapping) and _is_short(spec.get("name")) for spec in specs):
        return _json_form(example, reason="unsigned")
    if len(specs) > MAX_COLUMNS:
        return _json_form(example, reason="wide")
    if all(isinstance(spec.get("tensor-spec"), Mapping) for spec in specs):
        dump = _Dump()
        return {"kind": "tensors", "tensors": [_tensor(spec, example, dump=dump) for spec in specs]}
    columns = [_column(spec, at) for at, spec in enumerate(specs)]
    if (field := _chat_field(columns)) is not None:
        return _chat_form(field, example)
    return _table_form(columns, example)


def _json_form(example: object, *, reason: str) -> Form:
    text = "" if example is None else _dump(example)
    return {"kind": "json", "reason": reason, "example": text or '{"inputs": []}'}


def _column(spec: Mapping[str, Any], at: int) -> Form:
    name, kind = spec.get("name"), spec.get("type")
    control = _CONTROLS.get(kind, "json") if isinstance(kind, str) else "json"
    return {
        "name": None if name is None else str(name),
        "label": f"column {at + 1}" if name is None else str(name),
        "type": _type_text(spec),
        "control": control,
        "is_list": kind == "array",
        "required": spec.get("required", spec.get("optional") is not True) is not False,
        "suggestions": [],
    }


def _type_text(spec: Mapping[str, Any]) -> str:
    return text.cut(describe_type(spec), _MAX_TYPE_CHARS)


def _table_form(columns: list[Form], example: object) -> Form:
    names = [column["name"] for column in columns]
    try:
        json_columns = {at for at, column in enumerate(columns) if column["control"] == "json"}
        rows = find_rows(example, names, json_columns=json_columns)
    except ValueError:
        rows = []
    for at, column in enumerate(columns):
        if column["control"] == "text":
            values = dict.fromkeys(row[at] for row in rows if row[at])
            column["suggestions"] = list(values)[:_MAX_SUGGESTIONS]
    body = "dataframe_split" if names[0] is not None else "inputs" if len(names) == 1 else "unnamed"
    return {"kind": "table", "columns": columns, "rows": rows, "body": body}


def _tensor(spec: Mapping[str, Any], example: object, *, dump: _Dump) -> Form:
    name, tensor = spec.get("name"), spec["tensor-spec"]
    shape = tensor.get("shape")
    sizes = [size for size in shape if type(size) is int] if isinstance(shape, list) else []
    dtype = str(tensor.get("dtype"))[:40]
    payload = find_payload(example)
    value = payload.get(name) if name is not None and isinstance(payload, Mapping) else payload
    text = dump(value) if isinstance(value, list) else ""
    return {
        "name": None if name is None else str(name),
        "dtype": dtype,
        "shape": sizes[:_MAX_DIMENSIONS],
        "text": text or _template(sizes[:_MAX_DIMENSIONS], dtype),
    }


def _template(shape: list[int], dtype: str) -> str:
    """Return an array of the shape, with one entry where the signature leaves the size open."""
    sizes = [max(size, 1) for size in shape]
    if prod(sizes) > _MAX_TEMPLATE_CELLS:
        return "[]"
    text = '""' if dtype in {"str", "object", "bytes"} else "false" if dtype == "bool" else "0"
    for size in reversed(sizes):
        text = f"[{', '.join([text] * size)}]"
    return text


def _chat_field(columns: list[Form]) -> str | None:
    """Return the column that holds a conversation, if the others can be left out."""
    required = [column for column in columns if column["required"]]
    if len(required) != 1 or required[0]["name"] not in _CHAT_COLUMNS:
        return None
    return str(required[0]["name"]) if required[0]["is_list"] else None


def _chat_form(field: str, example: object) -> Form:
    fields = dict(example) if isinstance(example, Mapping) else {}
    messages = fields.pop(field, None)
    kept = [
        {"role": str(each.get("role", "user"))[:40], "content": str(each["content"])[:MAX_CHARS]}
        for each in (messages if isinstance(messages, list) else [])[:20]
        if isinstance(each, Mapping) and isinstance(each.get("content"), str)
    ]
    return {"kind": "chat", "field": field, "messages": kept, "others": _dump(fields) or "{}"}


def _params(params: object, example: object) -> list[Form]:
    specs = params if isinstance(params, list) else []
    given = example.get("params") if isinstance(example, Mapping) else None
    values: Mapping[Any, Any] = given if isinstance(given, Mapping) else {}
    dump = _Dump()
    return [
        _param(spec, values, dump=dump)
        for spec in specs[:_MAX_PARAMS]
        if isinstance(spec, Mapping) and isinstance(spec.get("name"), str) and _is_short(spec["name"])
    ]


def _param(spec: Mapping[str, Any], values: Mapping[Any, Any], *, dump: _Dump) -> Form:
    kind, name = spec.get("type"), spec["name"]
    is_list = isinstance(spec.get("shape"), list)
    control = _CONTROLS.get(kind, "json") if isinstance(kind, str) and not is_list else "json"
    as_text = dump if control == "json" else dump.text
    default = as_text(spec.get("default"))
    return {
        "name": name,
        "type": f"list of {kind}" if is_list else _type_text(spec),
        "control": control,
        "default": default,
        "value": as_text(values[name]) if name in values else default,
    }


class _Dump:
    """Writes the values of one form; those beyond `MAX_CHARS` characters together as an empty text.

    A signature may name the same part of an example many times, so each value is written once.
    """

    def __init__(self) -> None:
        self._room = MAX_CHARS
        self._texts: dict[int, str] = {}

    def __call__(self, value: object) -> str:
        """Return a value as JSON."""
        if (text := self._texts.get(id(value))) is None:  # the example keeps its parts alive
            text = self._texts[id(value)] = _dump(value)
        return self._take(text)

    def text(self, value: object) -> str | None:
        """Return the text that a person would write for a value; None for null."""
        return None if value is None else self._take(str(value)) if isinstance(value, str) else self(value)

    def _take(self, text: str) -> str:
        if len(text) > self._room:
            return ""
        self._room -= len(text)
        return text


def _dump(value: object) -> str:
    """Return a value as JSON; an empty text if that is too long to be shown."""
    try:
        text = json_text.dump(value)
    except (ValueError, TypeError):
        return ""
    return text if len(text) <= MAX_CHARS else ""


def _is_short(name: object) -> bool:
    """Return whether a name is one that a form can show: none, or one of a bounded length."""
    return name is None or (isinstance(name, str | int | float) and len(str(name)) <= _MAX_NAME_CHARS)
