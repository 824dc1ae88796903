"""The body formats: media type → decoder of requests and encoder of responses."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from workers.codec.arrow import answer as arrow_answer
from workers.codec.arrow import body as arrow_body
from workers.codec.arrow import parquet
from workers.codec.csv import answer as csv_answer
from workers.codec.csv import body as csv_body
from workers.codec.json import answer as json_answer
from workers.codec.json import body as json_body
from workers.codec.request import DecodedRequest, EncodedResponse
from workers.codec.signature import InputSpec
from workers.codec.v2 import answer as v2_answer
from workers.codec.v2 import body as v2_body
from workers.errors import InvalidInput, UnsupportedMediaType
from workers.protocol.messages import ARROW, CSV, JSON, OPEN_INFERENCE, PARQUET, Job


class Format(NamedTuple):
    """A body format's decoder and encoder."""

    decode: Callable[[Job, InputSpec], DecodedRequest]
    encode: Callable[[object, DecodedRequest], EncodedResponse]


FORMATS: dict[str, Format] = {
    JSON: Format(json_body.decode, json_answer.encode),
    CSV: Format(csv_body.decode, csv_answer.encode),
    PARQUET: Format(parquet.decode, parquet.encode),
    ARROW: Format(arrow_body.decode, arrow_answer.encode),
    OPEN_INFERENCE: Format(v2_body.decode, v2_answer.encode),
}


def decode(job: Job, spec: InputSpec) -> DecodedRequest:
    """Decode the job's body by its content type. Raises UnsupportedMediaType and InvalidInput."""
    body_format = FORMATS.get(job.content_type)
    if spec.names_error is not None:
        raise InvalidInput(spec.names_error)
    if body_format is None:
        raise UnsupportedMediaType(f"The body's type is not known; it can be {', '.join(FORMATS)}.")
    return body_format.decode(job, spec)


def encode(predictions: object, request: DecodedRequest, job: Job) -> EncodedResponse:
    """Encode the predictions as the type that the job accepts.

    Raises UnsupportedMediaType, NotAcceptable and ModelError.
    """
    body_format = FORMATS.get(job.accept)
    if body_format is None:
        raise UnsupportedMediaType(f"The answer's type is not known; it can be {', '.join(FORMATS)}.")
    return body_format.encode(predictions, request)
