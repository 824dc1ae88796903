"""The results of a batch: each request gets its reply or its error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.errors import (
    AnswerMemoryExceeded,
    InvalidInput,
    ModelError,
    ModelLoadError,
    NotAcceptable,
    UnsupportedMediaType,
)
from workers.protocol.messages import Chunk, Failure, Job, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.errors import WorkerError
    from workers.pending_request import PendingRequest
    from workers.protocol.messages import LoadReport, WorkerReply


def resolve_batch(batch: list[PendingRequest], replies: Sequence[WorkerReply | LoadReport]) -> None:
    """Give each request its reply; reject all of them if their number differs from that of the replies."""
    if len(replies) != len(batch):
        reject(batch, ModelError(f"The worker answered {len(replies)} of {len(batch)} requests."))
        return
    for pending, reply in zip(batch, replies, strict=True):
        if type(reply) is (Reply if type(pending.request) is Job else Chunk):
            if not pending.future.done():
                pending.future.set_result(reply)
        elif isinstance(reply, Failure):
            reject([pending], to_exception(reply))
        else:
            reject([pending], ModelError("The worker's reply does not fit the request."))


def reject(batch: Sequence[PendingRequest], error: Exception) -> None:
    """Answer the requests that have no reply yet with `error`."""
    for pending in batch:
        if not pending.future.done():
            pending.future.set_exception(error)


def to_exception(failure: Failure) -> WorkerError:
    """Return the error that a worker sent as data."""
    if failure.kind == "input":
        return InvalidInput(failure.message, failure.details, total=failure.details_total)
    if failure.kind == "answer":
        return NotAcceptable(failure.message)
    if failure.kind == "type":
        return UnsupportedMediaType(failure.message)
    if failure.kind == "memory":
        return AnswerMemoryExceeded(failure.message)
    if failure.kind == "load":
        return ModelLoadError(failure.message, log=failure.log)
    return ModelError(failure.message, exception=failure.exception, text=failure.text, log=failure.log)
