"""What travels between the gateway and a worker, as bytes: batches one way, answers the other.

A frame is a head, an entry of fixed size for each job or answer, and their bodies one after the other.
Nothing is unpickled on either side: a worker runs code that others wrote, and the gateway reads its
answers as it would read a stranger's.
"""

from __future__ import annotations

import struct
from math import inf
from typing import TYPE_CHECKING

import orjson

from workers.protocol.messages import (
    MEDIA_TYPES,
    Cell,
    Chunk,
    Failure,
    Job,
    Loaded,
    Merging,
    Next,
    Open,
    Reply,
    Stop,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workers.protocol.messages import Answer, Ask

HEAD = struct.Struct("<IQd")
"""How many entries there are, how many bytes the bodies have together, and the seconds that all took."""
_ASK = struct.Struct(
    "<BBBqQQ"
)  # kind, type of the body and of the answer, JSON's length, stream, body's length
_ANSWER = struct.Struct("<BBBqdQ")  # kind, wrapped, type of the body, JSON's length, seconds, body's length
MOST_ENTRIES = 4096
MOST_BYTES = 2**30
"""Of the bodies of a worker's frame together; larger answers are refused in the worker."""
_CODES = {name: code for code, name in enumerate(MEDIA_TYPES)}
_UNKNOWN = 255
_JOB, _OPEN, _NEXT, _STOP = range(4)
_OF_STREAMS = frozenset({_NEXT, _STOP})
_REPLY, _CHUNK, _END, _FAILURE, _LOADED = range(5)
_NO_JSON_LENGTH = -1


class WireBroken(Exception):
    """What came is no frame of ours."""


def entries_size(count: int, *, of_asks: bool) -> int:
    """How many bytes the entries take that follow a head."""
    return count * (_ASK.size if of_asks else _ANSWER.size)


def batch(asks: Sequence[Ask]) -> list[bytes]:
    """A batch's frame in parts, so that no body is copied."""
    entries: list[bytes] = []
    bodies: list[bytes] = []
    for ask in asks:
        kind, stream = _KINDS[type(ask)], 0
        if kind != _JOB:
            stream = ask.stream  # type: ignore[union-attr] # all but jobs have one
            if kind != _OPEN:
                entries.append(_ASK.pack(kind, 0, 0, _NO_JSON_LENGTH, stream, 0))
                continue
        job: Job = ask.job if kind == _OPEN else ask  # type: ignore[assignment, union-attr] # by its kind
        body, content_type, accept, length = job
        entries.append(
            _ASK.pack(
                kind,
                _CODES.get(content_type, _UNKNOWN),
                _CODES.get(accept, _UNKNOWN),
                _NO_JSON_LENGTH if length is None else length,
                stream,
                len(body),
            )
        )
        bodies.append(body)
    return [HEAD.pack(len(entries), sum(map(len, bodies)), 0.0), *entries, *bodies]


def asks(entries: bytes, bodies: bytes) -> tuple[Ask, ...]:
    """The batch that `batch` made a frame of."""
    made: list[Ask] = []
    at = 0
    for kind, content_type, accept, length, stream, size in _ASK.iter_unpack(entries):
        if kind in _OF_STREAMS:
            made.append(Next(stream) if kind == _NEXT else Stop(stream))
            continue
        body = bodies if size == len(bodies) else bodies[at : at + size]
        at += size
        job = Job(body, _type(content_type), _type(accept), None if length == _NO_JSON_LENGTH else length)
        made.append(Open(job, stream) if kind == _OPEN else job)
    return tuple(made)


def replies(answers: Iterable[Answer | Loaded], seconds: float) -> list[bytes]:
    """The answers' frame in parts."""
    entries: list[bytes] = []
    bodies: list[bytes] = []
    for answer in answers:
        if type(answer) is Reply:
            body, took, wrapped, content_type, length = answer
            json_length = _NO_JSON_LENGTH if length is None else length
            head = (_REPLY, wrapped, _CODES[content_type], json_length, took, len(body))
        elif isinstance(answer, Failure):
            body = _failure_bytes(answer)
            head = (_FAILURE, False, 0, _NO_JSON_LENGTH, 0.0, len(body))
        elif isinstance(answer, Chunk):
            body = answer.body or b""
            kind = _END if answer.body is None else _CHUNK
            head = (kind, False, 0, _NO_JSON_LENGTH, answer.seconds, len(body))
        elif isinstance(answer, Loaded):
            body = _loaded_bytes(answer)
            head = (_LOADED, False, 0, _NO_JSON_LENGTH, answer.seconds, len(body))
        entries.append(_ANSWER.pack(*head))
        bodies.append(body)
    return [HEAD.pack(len(entries), sum(map(len, bodies)), seconds), *entries, *bodies]


def answers(entries: bytes, bodies: bytes) -> tuple[Answer | Loaded, ...]:
    """The answers of a frame. Raises WireBroken where it is not one of ours."""
    made: list[Answer | Loaded] = []
    at = 0
    try:
        for kind, wrapped, content_type, length, seconds, size in _ANSWER.iter_unpack(entries):
            body = bodies[at : at + size]
            if len(body) != size or not is_time(seconds):
                raise WireBroken("an entry has no such body, or no such time")
            at += size
            if kind == _REPLY:
                if not _NO_JSON_LENGTH <= length <= size:
                    raise WireBroken("a body's JSON is longer than the body")
                json_length = None if length == _NO_JSON_LENGTH else length
                made.append(Reply(body, seconds, wrapped != 0, MEDIA_TYPES[content_type], json_length))
            elif kind == _FAILURE:
                made.append(_failure(body))
            elif kind in {_CHUNK, _END}:
                made.append(Chunk(None if kind == _END else body, seconds))
            elif kind == _LOADED:
                made.append(_loaded(body, seconds))
            else:
                raise WireBroken("an answer is of no known kind")
    except (IndexError, TypeError, KeyError, ValueError, struct.error) as error:
        raise WireBroken("an answer is not of its kind's form") from error
    if at != len(bodies):
        raise WireBroken("the bodies are longer than their entries say")
    return tuple(made)


def is_time(seconds: float) -> bool:
    """Whether something can have taken so long; what is reckoned with it must not become NaN."""
    return 0.0 <= seconds < inf


def _type(code: int) -> str:
    return MEDIA_TYPES[code] if code != _UNKNOWN else ""


def _clean(text: str) -> str:
    """What UTF-8 can hold of a text; lone surrogates have no place in it."""
    return text.encode("utf-8", "replace").decode()


def _failure_bytes(failure: Failure) -> bytes:
    told = {name: _clean(getattr(failure, name)) for name in _TEXTS}
    cells = [
        [cell.row, None if cell.column is None else _clean(cell.column), _clean(cell.reason)]
        for cell in failure.details
    ]
    return orjson.dumps({**told, "details": cells})


def _failure(body: bytes) -> Failure:
    told = orjson.loads(body)
    if not isinstance(told, dict):
        raise WireBroken("a failure is no object")
    cells = tuple(_cell(*cell) for cell in told.pop("details"))
    if not all(isinstance(told[name], str) for name in _TEXTS) or told["kind"] not in _FAILURES:
        raise WireBroken("a failure is not of its form")
    return Failure(details=cells, **told)


def _cell(row: object, column: object, reason: object) -> Cell:
    if isinstance(row, int | None) and isinstance(column, str | None) and isinstance(reason, str):
        return Cell(row, column, reason)
    raise WireBroken("a failure's cell is not of its form")


def _loaded_bytes(loaded: Loaded) -> bytes:
    merging, why = loaded.merging
    return orjson.dumps([loaded.preloaded, loaded.streamable, merging, _clean(why)])


def _loaded(body: bytes, seconds: float) -> Loaded:
    *flags, why = orjson.loads(body)
    if not all(isinstance(flag, bool) for flag in flags) or not isinstance(why, str):
        raise WireBroken("a report is not of its form")
    preloaded, streamable, merging = flags
    return Loaded(seconds, preloaded, streamable, Merging(merging, why))


_TEXTS = ("kind", "message", "exception", "text", "log")
_FAILURES = frozenset({"input", "type", "answer", "model", "load"})
_KINDS: dict[type, int] = {Job: _JOB, Open: _OPEN, Next: _NEXT, Stop: _STOP}
