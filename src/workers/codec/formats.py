"""The two tables of formats: media type → reader of bodies, media type → writer of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.codec.arrow import answer as arrow_answer
from workers.codec.arrow import body as arrow_body
from workers.codec.arrow import parquet
from workers.codec.csv import answer as csv_answer
from workers.codec.csv import body as csv_body
from workers.codec.json import answer as json_answer
from workers.codec.json import body as json_body
from workers.codec.v2 import answer as v2_answer
from workers.codec.v2 import body as v2_body
from workers.errors import UnsupportedMediaType
from workers.protocol.messages import ARROW, CSV, JSON, OPEN_INFERENCE, PARQUET

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.codec.request import DecodedRequest, EncodedResponse
    from workers.codec.signature import InputSpec
    from workers.protocol.messages import Job

DECODERS: dict[str, Callable[[Job, InputSpec], DecodedRequest]] = {
    JSON: json_body.decode,
    CSV: csv_body.decode,
    PARQUET: parquet.decode,
    ARROW: arrow_body.decode,
    OPEN_INFERENCE: v2_body.decode,
}
ENCODERS: dict[str, Callable[[object, DecodedRequest], EncodedResponse]] = {
    JSON: json_answer.encode,
    CSV: csv_answer.encode,
    PARQUET: arrow_answer.encode_parquet,
    ARROW: arrow_answer.encode_arrow,
    OPEN_INFERENCE: v2_answer.encode,
}


def decode(job: Job, spec: InputSpec) -> DecodedRequest:
    """The job's body as data for the model. Raises TypeRefused and InputRefused."""
    reader = DECODERS.get(job.content_type)
    if reader is None:
        raise UnsupportedMediaType(f"The body's type is not known; it can be {', '.join(DECODERS)}.")
    return reader(job, spec)


def encode(predictions: object, request: DecodedRequest, job: Job) -> EncodedResponse:
    """The predictions in the form that the job accepts. Raises TypeRefused and ModelFailed."""
    writer = ENCODERS.get(job.accept)
    if writer is None:
        raise UnsupportedMediaType(f"The answer's type is not known; it can be {', '.join(ENCODERS)}.")
    return writer(predictions, request)
