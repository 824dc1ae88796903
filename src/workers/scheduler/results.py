"""What becomes of a batch's tickets: each gets its answer, or its error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.errors import InvalidInput, ModelError, ModelLoadError, NotAcceptable, UnsupportedMediaType
from workers.protocol.messages import Chunk, Failure, Job, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.errors import WorkerError
    from workers.protocol.messages import LoadReport, WorkerReply
    from workers.scheduler.queue import PendingRequest


def resolve_batch(tickets: list[PendingRequest], answers: Sequence[WorkerReply | LoadReport]) -> None:
    """Answer those that still wait; all of them with one error where their number is not the answers'."""
    if len(answers) != len(tickets):
        reject(tickets, ModelError(f"The worker answered {len(answers)} of {len(tickets)} requests."))
        return
    for ticket, answer in zip(tickets, answers, strict=True):
        if type(answer) is (Reply if type(ticket.request) is Job else Chunk):
            if not ticket.future.done():
                ticket.future.set_result(answer)
        elif isinstance(answer, Failure):
            reject([ticket], to_exception(answer))
        else:
            reject([ticket], ModelError("The worker answered something else than it was asked."))


def reject(tickets: Sequence[PendingRequest], error: Exception) -> None:
    """Answer those that still wait with `error`."""
    for ticket in tickets:
        if not ticket.future.done():
            ticket.future.set_exception(error)


def to_exception(failure: Failure) -> WorkerError:
    """The error that a worker told as data."""
    if failure.kind == "input":
        return InvalidInput(failure.message, failure.details)
    if failure.kind == "answer":
        return NotAcceptable(failure.message)
    if failure.kind == "type":
        return UnsupportedMediaType(failure.message)
    if failure.kind == "load":
        return ModelLoadError(failure.message, log=failure.log)
    return ModelError(failure.message, exception=failure.exception, text=failure.text, log=failure.log)
