"""How the cells that do not fit are told: the first few by name, and how many more there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.errors import InvalidInput

if TYPE_CHECKING:
    from workers.protocol.messages import InputProblem

MAX_DETAILS = 5  # as many offending cells are named
_MAX_NAME_LENGTH = 100  # as many characters of a caller's name are repeated


def invalid_input(
    problems: list[InputProblem], *, what: str = "The input does not fit the model's signature"
) -> InvalidInput:
    """One error for all of them, by row; `problems` is not empty."""
    problems.sort(key=lambda cell: -1 if cell.row is None else cell.row)
    first = problems[0]
    where = [] if first.column is None else [f"column {first.column!r}"]
    where += [] if first.row is None else [f"row {first.row}"]
    place = ", ".join(where)
    more = len(problems) - MAX_DETAILS
    tail = f" There are {more} more than the details name." if more > 0 else ""
    return InvalidInput(
        f"{what}: {place + ': ' if place else ''}{first.reason}.{tail}", tuple(problems[:MAX_DETAILS])
    )


def shorten(name: object) -> str:
    """A name that the caller chose, short enough to repeat."""
    return str(name)[:_MAX_NAME_LENGTH]


def requires_inputs_form(form: str) -> InvalidInput:
    """The refusal of a form that a model whose signature comes from type hints does not take."""
    return InvalidInput(f"This model's signature comes from type hints: send inputs in JSON, not {form}.")
