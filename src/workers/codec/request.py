"""The values that pass between the formats and the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workers.protocol.messages import JSON


@dataclass(frozen=True, slots=True)
class DecodedRequest:
    """A request whose body is decoded.

    `data` is what `PyFuncModel.predict` takes. `wrapped` says whether a JSON response puts the predictions
    under `predictions`; for the unified LLM bodies it does not, as in MLflow's scoring server.
    `output_options` is what the encoder of the same format needs to know of the request.
    """

    data: Any
    params: dict[str, Any] | None = None
    wrapped: bool = True
    output_options: Any = None


@dataclass(frozen=True, slots=True)
class EncodedResponse:
    """A response as bytes; the fields are those of `workers.protocol.messages.Reply`."""

    body: bytes
    wrapped: bool = False
    content_type: str = JSON
    json_length: int | None = None
