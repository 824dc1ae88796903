"""What a body says once it is read, and what an answer is before it travels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workers.protocol.messages import JSON


@dataclass(frozen=True, slots=True)
class DecodedRequest:
    """Data in the form that `PyFuncModel.predict` takes, its params, and whether the answer is wrapped.

    The unified LLM bodies are answered unwrapped, as MLflow's scoring server does. `asked` is what
    the writer of the answer must know of the request, where its format has such a thing.
    """

    data: Any
    params: dict[str, Any] | None = None
    wrapped: bool = True
    output_options: Any = None


@dataclass(frozen=True, slots=True)
class EncodedResponse:
    """An answer's bytes; the fields are `workers.messages.Reply`'s."""

    body: bytes
    wrapped: bool = False
    content_type: str = JSON
    json_length: int | None = None
