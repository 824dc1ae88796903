"""A failure as JSON of a bounded size: its texts may be a model's own, of any length and any characters."""

from __future__ import annotations

from dataclasses import replace
from operator import index
from typing import TYPE_CHECKING

import orjson

from workers.protocol.bounds import MAX_FAILURE_BYTES, MAX_PROBLEMS, ProtocolError
from workers.protocol.messages import MAX_DETAILS, Failure, InputProblem

if TYPE_CHECKING:
    from collections.abc import Iterable

SMALL_BYTES = 512
"""The most bytes of a failure that `encode_small` returns."""
_MAX_CHARS = {"kind": 20, "message": 4_000, "exception": 200, "text": 2_000, "log": 20_000}
_MAX_NAME_CHARS = 200
_MAX_REASON_CHARS = 500
_FEW_DETAILS = 5
_MAX_ROW = 2**53
_SMALL_MAX_CHARS = {"message": 50, "exception": 15}
_KINDS = frozenset({"input", "type", "answer", "model", "load", "batch"})
_ROW_TYPES = frozenset({int, type(None)})
_COLUMN_TYPES = frozenset({str, type(None)})


def encode(failure: Failure) -> bytes:
    """Return a failure as JSON. Its texts are shortened; a text, name or row of another type is left out."""
    body = _encode(failure)
    if len(body) > MAX_FAILURE_BYTES:
        body = _encode(replace(failure, log="", details=tuple(failure.details)[:_FEW_DETAILS]))
    return body


def encode_small(body: bytes) -> bytes:
    """Return a failure that `encode` returned with the start of its message only, in few bytes."""
    fields = orjson.loads(body)
    short = {name: fields[name][:max_chars] for name, max_chars in _SMALL_MAX_CHARS.items()}
    return orjson.dumps({**fields, "text": "", "log": "", "details": [], **short})


def decode(body: bytes) -> Failure:
    """Return the failure of a body.

    Raises ValueError, KeyError or TypeError if it is not valid, ProtocolError if it is too large.
    """
    if len(body) > MAX_FAILURE_BYTES:
        raise ProtocolError(f"a failure of {len(body)} bytes, where {MAX_FAILURE_BYTES} are allowed")
    fields = orjson.loads(body)
    if not isinstance(fields, dict):
        raise TypeError("a failure is not an object")
    problems = fields.pop("details")
    if len(problems) > MAX_PROBLEMS:
        raise ProtocolError(f"a failure of {len(problems)} problems, where {MAX_PROBLEMS} are allowed")
    details = tuple(_decode_problem(*problem) for problem in problems)
    total = fields["details_total"]
    if type(total) is not int or not len(details) <= total <= _MAX_ROW:
        raise ValueError("the number of input problems is not valid")
    are_texts = all(isinstance(fields[name], str) for name in _MAX_CHARS)
    if not are_texts or fields["kind"] not in _KINDS:
        raise ValueError("a failure is not valid")
    return Failure(details=details, **fields)


def to_text(value: object, max_chars: int) -> str:
    """Return the start of a text that UTF-8 can encode: lone surrogates become question marks."""
    text = str.__str__(value) if isinstance(value, str) else ""  # without a class that a model gave it
    return text[:max_chars].encode("utf-8", "replace").decode()


def _encode(failure: Failure) -> bytes:
    fields: dict[str, object] = {
        name: to_text(getattr(failure, name), max_chars) for name, max_chars in _MAX_CHARS.items()
    }
    details = list(_encode_problems(failure.details))
    total = max(_encode_row(failure.details_total) or 0, len(details))
    return orjson.dumps({**fields, "details": details, "details_total": total})


def _encode_problems(problems: tuple[InputProblem, ...]) -> Iterable[list[object]]:
    for problem in tuple(problems)[:MAX_DETAILS]:
        column = None if problem.column is None else to_text(_name(problem.column), _MAX_NAME_CHARS)
        yield [_encode_row(problem.row), column, to_text(problem.reason, _MAX_REASON_CHARS)]


def _name(column: object) -> str:
    """Return a column's name; pandas names them by integers, and by whatever else can be a key."""
    return column if isinstance(column, str) else str(column)


def _encode_row(row: object) -> int | None:
    try:
        number = index(row)  # type: ignore[arg-type] # TypeError: no number
    except TypeError:
        return None
    return number if abs(number) <= _MAX_ROW else None


def _decode_problem(row: object, column: object, reason: object) -> InputProblem:
    if type(row) in _ROW_TYPES and type(column) in _COLUMN_TYPES and type(reason) is str:
        return InputProblem(row, column, reason)  # type: ignore[arg-type] # by the types above
    raise TypeError("an input problem is not valid")
