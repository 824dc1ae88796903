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

    from workers.codec.request import Answer, Request
    from workers.codec.signature import Plan
    from workers.protocol.messages import Job

READERS: dict[str, Callable[[Job, Plan], Request]] = {
    JSON: json_body.read,
    CSV: csv_body.read,
    PARQUET: parquet.read,
    ARROW: arrow_body.read,
    OPEN_INFERENCE: v2_body.read,
}
WRITERS: dict[str, Callable[[object, Request], Answer]] = {
    JSON: json_answer.answer,
    CSV: csv_answer.write,
    PARQUET: arrow_answer.write_parquet,
    ARROW: arrow_answer.write_arrow,
    OPEN_INFERENCE: v2_answer.write,
}


def read(job: Job, plan: Plan) -> Request:
    """The job's body as data for the model. Raises TypeRefused and InputRefused."""
    reader = READERS.get(job.content_type)
    if reader is None:
        raise UnsupportedMediaType(f"The body's type is not known; it can be {', '.join(READERS)}.")
    return reader(job, plan)


def write(predictions: object, request: Request, job: Job) -> Answer:
    """The predictions in the form that the job accepts. Raises TypeRefused and ModelFailed."""
    writer = WRITERS.get(job.accept)
    if writer is None:
        raise UnsupportedMediaType(f"The answer's type is not known; it can be {', '.join(WRITERS)}.")
    return writer(predictions, request)
