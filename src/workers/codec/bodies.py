"""The one table of body formats: media type → reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.codec import json_body
from workers.errors import TypeRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.codec.plan import Plan
    from workers.codec.request import Request
    from workers.messages import Job

READERS: dict[str, Callable[[bytes, Plan], Request]] = {
    "application/json": json_body.read,
}


def read(job: Job, plan: Plan) -> Request:
    """The job's body as data for the model. Raises TypeRefused and InputRefused."""
    reader = READERS.get(job.content_type)
    if reader is None:
        raise TypeRefused(f"The body's type is not known; it can be {', '.join(READERS)}.")
    return reader(job.body, plan)
