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
    Chunk,
    CloseStream,
    Failure,
    InputProblem,
    Job,
    LoadReport,
    NextChunk,
    OpenStream,
    Reply,
    RowBatching,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workers.protocol.messages import WorkerReply, WorkerRequest

HEADER = struct.Struct("<IQd")
"""How many entries there are, how many bytes the bodies have together, and the seconds that all took."""
_REQUEST_ENTRY = struct.Struct(
    "<BBBqQQ"
)  # kind, type of the body and of the answer, JSON's length, stream, body's length
_REPLY_ENTRY = struct.Struct(
    "<BBBqdQ"
)  # kind, wrapped, type of the body, JSON's length, seconds, body's length
MAX_ENTRIES = 4096
MAX_BYTES = 2**30
"""Of the bodies of a worker's frame together; larger answers are refused in the worker."""
_MEDIA_TYPE_CODES = {name: code for code, name in enumerate(MEDIA_TYPES)}
_UNKNOWN_MEDIA_TYPE = 255
_JOB, _OPEN_STREAM, _NEXT_CHUNK, _CLOSE_STREAM = range(4)
_STREAM_KINDS = frozenset({_NEXT_CHUNK, _CLOSE_STREAM})
_REPLY, _CHUNK, _STREAM_END, _FAILURE, _LOAD_REPORT = range(5)
_NO_JSON_LENGTH = -1


class ProtocolError(Exception):
    """What came is no frame of ours."""


def entries_size(count: int, *, of_requests: bool) -> int:
    """How many bytes the entries take that follow a head."""
    return count * (_REQUEST_ENTRY.size if of_requests else _REPLY_ENTRY.size)


def encode_requests(asks: Sequence[WorkerRequest]) -> list[bytes]:
    """A batch's frame in parts, so that no body is copied."""
    entries: list[bytes] = []
    bodies: list[bytes] = []
    for ask in asks:
        kind, stream = _REQUEST_KINDS[type(ask)], 0
        if kind != _JOB:
            stream = ask.stream_id  # type: ignore[union-attr] # all but jobs have one
            if kind != _OPEN_STREAM:
                entries.append(_REQUEST_ENTRY.pack(kind, 0, 0, _NO_JSON_LENGTH, stream, 0))
                continue
        job: Job = ask.job if kind == _OPEN_STREAM else ask  # type: ignore[assignment, union-attr] # by its kind
        body, content_type, accept, length = job
        entries.append(
            _REQUEST_ENTRY.pack(
                kind,
                _MEDIA_TYPE_CODES.get(content_type, _UNKNOWN_MEDIA_TYPE),
                _MEDIA_TYPE_CODES.get(accept, _UNKNOWN_MEDIA_TYPE),
                _NO_JSON_LENGTH if length is None else length,
                stream,
                len(body),
            )
        )
        bodies.append(body)
    return [HEADER.pack(len(entries), sum(map(len, bodies)), 0.0), *entries, *bodies]


def decode_requests(entries: bytes, bodies: bytes) -> tuple[WorkerRequest, ...]:
    """The batch that `batch` made a frame of."""
    made: list[WorkerRequest] = []
    at = 0
    for kind, content_type, accept, length, stream, size in _REQUEST_ENTRY.iter_unpack(entries):
        if kind in _STREAM_KINDS:
            made.append(NextChunk(stream) if kind == _NEXT_CHUNK else CloseStream(stream))
            continue
        body = bodies if size == len(bodies) else bodies[at : at + size]
        at += size
        job = Job(
            body,
            _media_type(content_type),
            _media_type(accept),
            None if length == _NO_JSON_LENGTH else length,
        )
        made.append(OpenStream(job, stream) if kind == _OPEN_STREAM else job)
    return tuple(made)


def encode_replies(answers: Iterable[WorkerReply | LoadReport], seconds: float) -> list[bytes]:
    """The answers' frame in parts."""
    entries: list[bytes] = []
    bodies: list[bytes] = []
    for answer in answers:
        if type(answer) is Reply:
            body, took, wrapped, content_type, length = answer
            json_length = _NO_JSON_LENGTH if length is None else length
            head = (_REPLY, wrapped, _MEDIA_TYPE_CODES[content_type], json_length, took, len(body))
        elif isinstance(answer, Failure):
            body = _encode_failure(answer)
            head = (_FAILURE, False, 0, _NO_JSON_LENGTH, 0.0, len(body))
        elif isinstance(answer, Chunk):
            body = answer.body or b""
            kind = _STREAM_END if answer.body is None else _CHUNK
            head = (kind, False, 0, _NO_JSON_LENGTH, answer.seconds, len(body))
        elif isinstance(answer, LoadReport):
            body = _encode_load_report(answer)
            head = (_LOAD_REPORT, False, 0, _NO_JSON_LENGTH, answer.seconds, len(body))
        entries.append(_REPLY_ENTRY.pack(*head))
        bodies.append(body)
    return [HEADER.pack(len(entries), sum(map(len, bodies)), seconds), *entries, *bodies]


def decode_replies(entries: bytes, bodies: bytes) -> tuple[WorkerReply | LoadReport, ...]:
    """The answers of a frame. Raises WireBroken where it is not one of ours."""
    made: list[WorkerReply | LoadReport] = []
    at = 0
    try:
        for kind, wrapped, content_type, length, seconds, size in _REPLY_ENTRY.iter_unpack(entries):
            body = bodies[at : at + size]
            if len(body) != size or not is_valid_duration(seconds):
                raise ProtocolError("an entry has no such body, or no such time")
            at += size
            if kind == _REPLY:
                if not _NO_JSON_LENGTH <= length <= size:
                    raise ProtocolError("a body's JSON is longer than the body")
                json_length = None if length == _NO_JSON_LENGTH else length
                made.append(Reply(body, seconds, wrapped != 0, MEDIA_TYPES[content_type], json_length))
            elif kind == _FAILURE:
                made.append(_decode_failure(body))
            elif kind in {_CHUNK, _STREAM_END}:
                made.append(Chunk(None if kind == _STREAM_END else body, seconds))
            elif kind == _LOAD_REPORT:
                made.append(_decode_load_report(body, seconds))
            else:
                raise ProtocolError("an answer is of no known kind")
    except (IndexError, TypeError, KeyError, ValueError, struct.error) as error:
        raise ProtocolError("an answer is not of its kind's form") from error
    if at != len(bodies):
        raise ProtocolError("the bodies are longer than their entries say")
    return tuple(made)


def is_valid_duration(seconds: float) -> bool:
    """Whether something can have taken so long; what is reckoned with it must not become NaN."""
    return 0.0 <= seconds < inf


def _media_type(code: int) -> str:
    return MEDIA_TYPES[code] if code != _UNKNOWN_MEDIA_TYPE else ""


def _replace_surrogates(text: str) -> str:
    """What UTF-8 can hold of a text; lone surrogates have no place in it."""
    return text.encode("utf-8", "replace").decode()


def _encode_failure(failure: Failure) -> bytes:
    told = {name: _replace_surrogates(getattr(failure, name)) for name in _FAILURE_TEXTS}
    cells = [
        [
            cell.row,
            None if cell.column is None else _replace_surrogates(cell.column),
            _replace_surrogates(cell.reason),
        ]
        for cell in failure.details
    ]
    return orjson.dumps({**told, "details": cells})


def _decode_failure(body: bytes) -> Failure:
    told = orjson.loads(body)
    if not isinstance(told, dict):
        raise ProtocolError("a failure is no object")
    cells = tuple(_decode_input_problem(*cell) for cell in told.pop("details"))
    if not all(isinstance(told[name], str) for name in _FAILURE_TEXTS) or told["kind"] not in _FAILURE_KINDS:
        raise ProtocolError("a failure is not of its form")
    return Failure(details=cells, **told)


def _decode_input_problem(row: object, column: object, reason: object) -> InputProblem:
    if isinstance(row, int | None) and isinstance(column, str | None) and isinstance(reason, str):
        return InputProblem(row, column, reason)
    raise ProtocolError("a failure's cell is not of its form")


def _encode_load_report(loaded: LoadReport) -> bytes:
    merging, why = loaded.row_batching
    return orjson.dumps([loaded.preloaded, loaded.streamable, merging, _replace_surrogates(why)])


def _decode_load_report(body: bytes, seconds: float) -> LoadReport:
    *flags, why = orjson.loads(body)
    if not all(isinstance(flag, bool) for flag in flags) or not isinstance(why, str):
        raise ProtocolError("a report is not of its form")
    preloaded, streamable, merging = flags
    return LoadReport(seconds, preloaded, streamable, RowBatching(merging, why))


_FAILURE_TEXTS = ("kind", "message", "exception", "text", "log")
_FAILURE_KINDS = frozenset({"input", "type", "answer", "model", "load"})
_REQUEST_KINDS: dict[type, int] = {
    Job: _JOB,
    OpenStream: _OPEN_STREAM,
    NextChunk: _NEXT_CHUNK,
    CloseStream: _CLOSE_STREAM,
}
