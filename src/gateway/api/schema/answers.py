"""The predictions of a signature's outputs as JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from gateway.api.schema.tensors import Tensor, parse_tensors
from gateway.api.schema.types import JsonSchema, answer_schema, ref

if TYPE_CHECKING:
    from gateway.domain.mlmodel import Signature

_DECLARED: Final = (
    "As the model's signature declares them. The gateway does not hold the model to it. "
    "NaN, infinities and missing values are null."
)
_OPEN: Final[JsonSchema] = {"description": "The signature declares no outputs, so these may be any JSON."}


def build_answers(signature: Signature | None) -> dict[str, JsonSchema]:
    """Return the schema `Predictions` of what a model that keeps to its signature returns, and its parts."""
    outputs = signature.outputs if signature is not None else None
    if (tensors := parse_tensors(outputs)) is not None:
        forms, parts = _tensor_answers(tensors)
    elif isinstance(outputs, list) and outputs and all(isinstance(spec, Mapping) for spec in outputs):
        forms, parts = _column_answers(outputs)
    else:
        return {"Predictions": dict(_OPEN)}
    return {**parts, "Predictions": {"description": _DECLARED, "anyOf": forms}}


def _tensor_answers(tensors: tuple[Tensor, ...]) -> tuple[list[JsonSchema], dict[str, JsonSchema]]:
    answers = [tensors[0].answer()] if len(tensors) == 1 else []
    named = {tensor.name: tensor.answer() for tensor in tensors if tensor.name}
    if not named:
        return answers or [{}], {}
    parts: dict[str, JsonSchema] = {
        "PredictedTensors": {"type": "object", "properties": named, "required": list(named)}
    }
    return [*answers, ref("PredictedTensors")], parts


def _column_answers(specs: list[Mapping[str, object]]) -> tuple[list[JsonSchema], dict[str, JsonSchema]]:
    """Return the forms of columns: a frame as records, an array, a dict of lists or of single values.

    scikit-learn returns an array even if the signature names the column after that of a Series.
    """
    cells = [answer_schema(spec) for spec in specs]
    names = [str(spec.get("name", number)) for number, spec in enumerate(specs)]
    lists = [{"anyOf": [{"type": "array", "items": cell}, cell]} for cell in cells]
    parts: dict[str, JsonSchema] = {
        "PredictedRow": {"type": "object", "properties": dict(zip(names, cells, strict=True))},
        "PredictedColumns": {"type": "object", "properties": dict(zip(names, lists, strict=True))},
    }
    rows: JsonSchema = {"type": "array", "items": ref("PredictedRow")}
    if len(cells) > 1:
        row = {"type": "array", "prefixItems": cells, "minItems": len(cells), "maxItems": len(cells)}
        return [rows, ref("PredictedColumns"), {"type": "array", "items": row}], parts
    cell = cells[0]
    flat: JsonSchema = {"type": "array", "items": cell}
    return [flat, rows, ref("PredictedColumns"), {"type": "array", "items": flat}, cell], parts
