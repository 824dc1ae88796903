"""What a body says once it is read: data for the model, and how to answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """Data in the form that `PyFuncModel.predict` takes, its params, and whether the answer is wrapped.

    The unified LLM bodies are answered unwrapped, as MLflow's scoring server does.
    """

    data: Any
    params: dict[str, Any] | None = None
    wrapped: bool = True
