"""The OpenAPI document of one version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import orjson

from gateway.api.schema.answers import build_answers
from gateway.api.schema.bodies import IGNORED_KEYS, LLM_KEYS, Bodies, build_bodies
from gateway.api.schema.template import INFER_PATH, INVOKE_PATH, SHOW_PATH, Template
from gateway.api.schema.types import JsonSchema, ref
from workers.protocol.messages import ARROW, CSV, JSON, PARQUET

if TYPE_CHECKING:
    from gateway.domain.mlmodel import Mlmodel, Signature
    from gateway.domain.models import SourceKind
    from workers.protocol.messages import ModelKey

MAX_EXAMPLE_BYTES: Final = 256 * 2**10
MAX_BYTES: Final = 8 * 2**20
_TOO_LONG: Final = "Its signature is too long to be described here: `GET` of the version's own path has it."
_MAX_CSV_HEADER: Final = 64
_FORM_KEYS: Final = ("dataframe_split", "dataframe_records", "instances", "inputs", *LLM_KEYS, "record")
_STREAM: Final = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Described:
    """What the document of a version is made of. `mlmodel` is None if its file cannot be read.

    `example` is JSON as it is stored with the model.
    """

    key: ModelKey
    source: SourceKind
    mlmodel: Mlmodel | None
    example: bytes | None
    checks_by_mlflow: bool = False


@dataclass(frozen=True, slots=True)
class VersionDocument:
    """A document without its start, which depends on how it was asked for."""

    title: str
    version: str
    text: str
    rest: bytes

    def render(self, server: str, *, asked: str) -> bytes:
        """Return the document as JSON. `server` is its server's URL; `asked` says how it was asked for."""
        start = {
            "servers": [{"url": server}],
            "info": {"title": self.title, "version": self.version, "description": asked + self.text},
        }
        return orjson.dumps(start)[:-1] + b"," + self.rest[1:]


def build_document(described: Described, template: Template) -> VersionDocument:
    """Return the document: equal for equal parts. It takes some seconds for the longest signatures.

    One of more than `MAX_BYTES` has no schemas of the signature: few could read it, and none would be kept.
    """
    signature = described.mlmodel.signature if described.mlmodel is not None else None
    document = _build(described, template, signature)
    return document if len(document.rest) <= MAX_BYTES else _build(described, template, None, note=_TOO_LONG)


def _build(
    described: Described, template: Template, signature: Signature | None, *, note: str = ""
) -> VersionDocument:
    bodies = build_bodies(signature)
    answers = build_answers(signature)
    # It has no name of its own: generators of clients lose the objects within a named choice.
    predictions = answers.pop("Predictions")
    schemas: dict[str, Any] = {
        **bodies.schemas,
        **answers,
        "Prediction": _prediction(described, predictions),
    }
    base = template.components
    rest = {
        "openapi": template.openapi,
        "security": template.security,
        "tags": [{"name": "invocation"}, {"name": "models"}, {"name": "open inference"}],
        "paths": _paths(described, template, bodies),
        # The parts of the main document come first: none of them may take the place of the version's own.
        "components": {**base, "schemas": {**base["schemas"], **schemas}},
    }
    return VersionDocument(
        title=f"{described.key.name}, version {described.key.version}",
        version=described.key.version,
        text=_text(described, note or bodies.note),
        rest=orjson.dumps(rest),
    )


def _paths(described: Described, template: Template, bodies: Bodies) -> dict[str, Any]:
    def path(pattern: str) -> str:
        name = quote(described.key.name, safe="")
        return pattern.replace("{version}", described.key.version).replace("{name}", name)

    prediction = {**template.prediction, "content": _answers(described, template, bodies)}
    invoke = {
        **template.invoke,
        "requestBody": _request_body(described, bodies),
        "responses": {"200": prediction, **template.invoke["responses"]},
    }
    return {
        path(INVOKE_PATH): {"post": invoke},
        path(SHOW_PATH): {"get": template.show},
        path(INFER_PATH): {"post": template.infer},
    }


def _request_body(described: Described, bodies: Bodies) -> dict[str, Any]:
    forms = [ref(name) for name in bodies.forms]
    json_content: dict[str, Any] = {"schema": forms[0] if len(forms) == 1 else {"anyOf": forms}}
    if (example := _example_body(described.example)) is not None:
        json_content["examples"] = {
            "logged": {"summary": "The example that the model was logged with", "value": example}
        }
    content: dict[str, Any] = {JSON: json_content}
    if bodies.tables:
        content[CSV] = {"schema": {"type": "string", "description": _csv_text(bodies)}}
        content[PARQUET] = content[ARROW] = {"schema": {"type": "string", "format": "binary"}}
    return {
        "required": True,
        "description": (
            "JSON in one of these forms"
            + (
                ", or a table as CSV, Parquet or Arrow, whose columns are matched by name"
                if bodies.tables
                else ""
            )
            + ". The body may be compressed (`gzip`, `deflate`, `br`, `zstd`)."
        ),
        "content": content,
    }


def _csv_text(bodies: Bodies) -> str:
    text = "UTF-8, separated by commas, with a header line."
    if 0 < len(bodies.header) <= _MAX_CSV_HEADER:
        text += f" The columns: {', '.join(map(repr, bodies.header))}."
    return text


def _answers(described: Described, template: Template, bodies: Bodies) -> dict[str, Any]:
    given = template.prediction["content"]
    schema = ref("Prediction")
    if bodies.unwrapped:
        schema = {"anyOf": [schema, {"description": "The model's own answer to a body of language models."}]}
    tables = {name: {"schema": entry["schema"]} for name, entry in given.items() if name != JSON}
    return {JSON: {"schema": schema}, **tables}


def _prediction(described: Described, predictions: JsonSchema) -> dict[str, Any]:
    key = described.key
    return {
        "type": "object",
        "required": ["predictions", "model"],
        "properties": {
            "predictions": predictions,
            "model": {
                "type": "object",
                "required": ["name", "version", "source"],
                "properties": {
                    "name": {"type": "string", "const": key.name},
                    "version": {"type": "string", "const": key.version},
                    "source": {"type": "string", "const": described.source},
                },
            },
        },
    }


def _example_body(example: bytes | None) -> Any:
    """Return the example as a body. MLflow stores bodies, and in older versions the data alone."""
    if example is None or len(example) > MAX_EXAMPLE_BYTES:
        return None
    parsed = orjson.loads(example)
    if isinstance(parsed, dict):
        is_body = any(key in parsed for key in _FORM_KEYS) or {"columns", "data"} <= parsed.keys()
    else:
        is_body = isinstance(parsed, list) and bool(parsed) and all(isinstance(row, dict) for row in parsed)
    return orjson.Fragment(example if is_body else b'{"inputs":%b}' % example)


def _text(described: Described, note: str) -> str:
    parts = [
        "Predictions from this one version. The schemas are those of the signature that it was logged with."
    ]
    if described.mlmodel is None:
        parts.append("Its files could not be read, so nothing is known of its inputs and outputs.")
    elif note:
        parts.append(note)
    if described.checks_by_mlflow:
        parts.append("MLflow's own rules check the inputs here, and may take more than the schemas allow.")
    ignored = ", ".join(f"`{key}`" for key in IGNORED_KEYS)
    parts.append(f"Beside the data, {ignored} are ignored in a JSON body.")
    return "\n\n".join(parts)
