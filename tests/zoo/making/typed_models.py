"""Python functions that tell what they received: one for every type and kind of signature."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import pandas as pd
import pydantic
from mlflow.models import ModelSignature, infer_signature
from mlflow.pyfunc.model import PythonModel
from mlflow.types.schema import (
    AnyType,
    Array,
    ColSpec,
    DataType,
    Map,
    Object,
    ParamSchema,
    ParamSpec,
    Property,
    Schema,
    TensorSpec,
)

from tests.zoo.making.made import Made, columns

if TYPE_CHECKING:
    from collections.abc import Callable

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def told(value: Any) -> Any:
    """A value with its type, as text, so that no encoder can hide what it was."""
    if isinstance(value, np.ndarray):
        return {
            "array": str(value.dtype),
            "shape": list(value.shape),
            "cells": [told(cell) for cell in value.ravel()],
        }
    if isinstance(value, dict):
        return {"object": [[key, told(cell)] for key, cell in value.items()]}
    if isinstance(value, list):
        return {"list": [told(cell) for cell in value]}
    if isinstance(value, pydantic.BaseModel):
        return {"model": type(value).__name__, "fields": told(value.model_dump())}
    if isinstance(value, bytes):
        return f"bytes {value.hex()}"
    return f"{type(value).__name__} {value}"


class Tells(PythonModel):
    """Answers what it received: types and values, all as text."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        if not isinstance(model_input, pd.DataFrame):
            return told(model_input)
        return {
            "index": [str(label) for label in model_input.index],
            "columns": {
                str(name): {"dtype": str(cells.dtype), "cells": [told(cell) for cell in cells]}
                for name, cells in model_input.items()
            },
        }


class TellsNames(Tells):
    """Answers the names of the columns with their types, and what it received."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return {"names": list(map(told, model_input.columns)), **super().predict(context, model_input)}


class TellsParams(PythonModel):
    """Answers its params, with their types."""

    def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        return {name: told(value) for name, value in (params or {}).items()}


class Thing(pydantic.BaseModel):
    """What a type-hinted model takes."""

    name: str
    size: float
    tags: list[str] = []
    note: str | None = None


class TellsThings(PythonModel):
    """Its signature comes from its type hints."""

    def predict(self, model_input: list[Thing], params: Any = None) -> Any:  # type: ignore[override] # as MLflow has it
        return [told(thing) for thing in model_input]


class TellsTexts(PythonModel):
    """Its signature comes from its type hints."""

    def predict(self, model_input: list[str], params: Any = None) -> Any:  # type: ignore[override] # as MLflow has it
        return [told(text) for text in model_input]


class Talks(PythonModel):
    """Answers a conversation as chat models do."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return {
            "choices": [{"index": 0, "message": {"role": "assistant", "content": told_frame(model_input)}}]
        }


def told_frame(value: Any) -> Any:
    """A frame as its records, anything else as it is; with types."""
    return told(value.to_dict(orient="records") if isinstance(value, pd.DataFrame) else value)


PARAMS = ParamSchema(
    [
        ParamSpec("flag", DataType.boolean, default=False),
        ParamSpec("count", DataType.long, default=3),
        ParamSpec("rate", DataType.double, default=0.5),
        ParamSpec("name", DataType.string, default="none"),
        ParamSpec("day", DataType.datetime, default="2024-01-01T00:00:00"),
        ParamSpec("stops", DataType.string, default=["a", "b"], shape=(-1,)),
    ]
)
POINT = Object([Property("x", DataType.double), Property("label", DataType.string, required=False)])
MESSAGE = Object([Property("role", DataType.string), Property("content", DataType.string)])
SIGNATURES: dict[str, ModelSignature] = {
    **{f"type-{kind.name}": ModelSignature(columns(value=kind.name)) for kind in DataType},
    "type-array": ModelSignature(columns(value=Array(DataType.long))),
    "type-object": ModelSignature(columns(value=POINT)),
    "type-map": ModelSignature(columns(value=Map(DataType.double))),
    "type-any": ModelSignature(columns(value=AnyType())),
    "type-nested": ModelSignature(columns(value=Array(POINT))),
    "optional-columns": ModelSignature(
        columns(
            key="string",
            flag_or_null="boolean",
            count_or_null="long",
            rate_or_null="double",
            text_or_null="string",
            day_or_null="datetime",
        )
    ),
    "unnamed-columns": ModelSignature(Schema([ColSpec(DataType.double), ColSpec(DataType.long)])),
    "tensor-unnamed": ModelSignature(Schema([TensorSpec(np.dtype(np.float64), (-1, 3))])),
    "tensor-named": ModelSignature(
        Schema(
            [
                TensorSpec(np.dtype(np.float32), (-1, 2), "place"),
                TensorSpec(np.dtype(np.int64), (-1,), "count"),
            ]
        )
    ),
    "tensor-bytes": ModelSignature(Schema([TensorSpec(np.dtype(np.uint8), (-1, 2, 2))])),
    "tensor-text": ModelSignature(Schema([TensorSpec(np.dtype(str), (-1,))])),
    "tensor-flags": ModelSignature(Schema([TensorSpec(np.dtype(bool), (-1, 2))])),
}


def _tells(signature: ModelSignature | None) -> Made:
    return Made("pyfunc", Tells(), signature)


MAKERS: dict[str, Callable[[], Made]] = {
    **{name: partial(_tells, signature) for name, signature in SIGNATURES.items()},
    "unsigned": partial(_tells, None),
    "numbered-columns": lambda: Made(
        "pyfunc", TellsNames(), infer_signature(pd.DataFrame(np.array([[1.5, 2.5]])))
    ),
    "params": lambda: Made("pyfunc", TellsParams(), ModelSignature(columns(value="double"), params=PARAMS)),
    "hinted-things": lambda: Made("pyfunc", TellsThings()),
    "hinted-texts": lambda: Made("pyfunc", TellsTexts()),
    "chat": lambda: Made("pyfunc", Talks(), ModelSignature(columns(messages=Array(MESSAGE)), params=PARAMS)),
}
