"""What becomes of a batch's tickets: each gets its answer, or its error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.errors import AnswerRefused, InputRefused, LoadFailed, ModelFailed, TypeRefused
from workers.protocol.messages import Chunk, Failure, Job, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.errors import WorkerError
    from workers.protocol.messages import Answer, Loaded
    from workers.scheduler.queue import Ticket


def settle(tickets: list[Ticket], answers: Sequence[Answer | Loaded]) -> None:
    """Answer those that still wait; all of them with one error where their number is not the answers'."""
    if len(answers) != len(tickets):
        fail(tickets, ModelFailed(f"The worker answered {len(answers)} of {len(tickets)} requests."))
        return
    for ticket, answer in zip(tickets, answers, strict=True):
        if type(answer) is (Reply if type(ticket.job) is Job else Chunk):
            if not ticket.future.done():
                ticket.future.set_result(answer)
        elif isinstance(answer, Failure):
            fail([ticket], error_of(answer))
        else:
            fail([ticket], ModelFailed("The worker answered something else than it was asked."))


def fail(tickets: Sequence[Ticket], error: Exception) -> None:
    """Answer those that still wait with `error`."""
    for ticket in tickets:
        if not ticket.future.done():
            ticket.future.set_exception(error)


def error_of(failure: Failure) -> WorkerError:
    """The error that a worker told as data."""
    if failure.kind == "input":
        return InputRefused(failure.message, failure.details)
    if failure.kind == "answer":
        return AnswerRefused(failure.message)
    if failure.kind == "type":
        return TypeRefused(failure.message)
    if failure.kind == "load":
        return LoadFailed(failure.message, log=failure.log)
    return ModelFailed(failure.message, exception=failure.exception, text=failure.text, log=failure.log)
