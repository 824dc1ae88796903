"""Errors that name the first cells that do not fit and count the others."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TypeVar

from workers.errors import InvalidInput
from workers.protocol.messages import DEFAULT_DETAILS, MAX_COUNTED_PROBLEMS, InputProblem
from workers.protocol.messages import MAX_DETAILS as MOST_DETAILS

MAX_DETAILS = DEFAULT_DETAILS  # names that a message lists
MAX_PROBLEMS = MAX_COUNTED_PROBLEMS
_MAX_NAME_LENGTH = 100  # characters of a client's name that an error repeats

T = TypeVar("T")


def first_problems(problems: Iterable[T]) -> list[T]:
    """Return as many of the problems as an error counts, and one more if there are more."""
    return list(islice(problems, MAX_PROBLEMS + 1))


def invalid_input(
    problems: list[InputProblem], *, what: str = "The input does not fit the model's signature"
) -> InvalidInput:
    """Return one error for all `problems`, sorted by row. There must be at least one.

    It has as many details as any request may have named; `limit_details` leaves those of one request.
    """
    problems.sort(key=lambda problem: -1 if problem.row is None else problem.row)
    first = problems[0]
    location = [] if first.column is None else [f"column {first.column!r}"]
    location += [] if first.row is None else [f"row {first.row}"]
    prefix = f"{', '.join(location)}: " if location else ""
    message = f"{what}: {prefix}{first.reason}."
    return InvalidInput(message, tuple(problems[:MOST_DETAILS]), total=len(problems))


def limit_details(error: InvalidInput, max_details: int) -> InvalidInput:
    """Return the error with at most `max_details` details; its message counts the others."""
    hidden = error.total - max_details
    if hidden <= 0:
        return error
    count = f"more than {MAX_PROBLEMS - max_details}" if error.total > MAX_PROBLEMS else str(hidden)
    message = f"{error} There are {count} more than the details name."
    return InvalidInput(message, error.details[:max_details], total=error.total)


def shorten(name: object) -> str:
    """Return a name that the client chose, cut to a length that an error may repeat."""
    return str(name)[:_MAX_NAME_LENGTH]


def requires_inputs_form(form: str) -> InvalidInput:
    """Return the error for a model with type hints, which accepts only the JSON form `inputs`."""
    return InvalidInput(f"This model's signature comes from type hints: send inputs in JSON, not {form}.")
