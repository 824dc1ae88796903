"""Documents of versions with a signature of MLflow's, and validators of their bodies."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # its stubs would serve tests alone

from gateway.api import openapi
from gateway.api.schema.document import Described, build_document
from gateway.api.schema.template import Template
from gateway.domain.mlmodel import Mlmodel, Signature
from workers.protocol.messages import ModelKey

if TYPE_CHECKING:
    from mlflow.types.schema import ParamSchema, Schema

KEY = ModelKey("a model", "2", "f")


@cache
def template() -> Template:
    """Return what all documents share."""
    return Template.from_document(openapi.build_document())


def signature(
    inputs: Schema | None = None,
    outputs: Schema | None = None,
    params: ParamSchema | None = None,
    **more: Any,
) -> Signature:
    """Return a signature as the gateway reads it from an MLmodel file."""
    parts = {"inputs": inputs, "outputs": outputs, "params": params}
    texts = {name: json.dumps(part.to_dict()) for name, part in parts.items() if part is not None}
    return Signature(**{name: json.loads(text) for name, text in texts.items()}, **more)


def document(of: Signature | None, *, key: ModelKey = KEY, example: bytes | None = None) -> dict[str, Any]:
    """Return the document of a version with this signature."""
    described = Described(key=key, source="registry", mlmodel=Mlmodel(signature=of), example=example)
    found: dict[str, Any] = json.loads(build_document(described, template()).render("../..", asked=""))
    return found


def json_body_schema(document: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a prediction's JSON body."""
    (path,) = [path for path in document["paths"] if path.endswith("/invocation")]
    schema: dict[str, Any] = document["paths"][path]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    return schema


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    """Return a validator for a schema of the document."""
    return Draft202012Validator({**schema, "components": document["components"]})


def body_validator(document: dict[str, Any]) -> Draft202012Validator:
    """Return a validator of JSON bodies."""
    return validator(document, json_body_schema(document))
