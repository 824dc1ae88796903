"""Encode and decode the frames between the gateway and a worker: batches one way, replies the other.

A frame is a header, an entry of fixed size for each request or reply, and their bodies one after the other.
Nothing is unpickled on either side. A worker runs code that others wrote, so the gateway trusts none of
the bytes that come from it.
"""

from __future__ import annotations

import struct
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from workers.protocol import failure_body, load_report_body
from workers.protocol.bounds import MAX_ALL_PROBLEMS, MAX_ANSWER_BYTES, MAX_FAILURES_BYTES, ProtocolError
from workers.protocol.messages import (
    MEDIA_TYPES,
    Chunk,
    CloseStream,
    Failure,
    Job,
    LoadReport,
    NextChunk,
    OpenStream,
    Reply,
)
from workers.protocol.reply_entries import (
    ANSWERS,
    CHUNK,
    FAILURE,
    LOAD_REPORT,
    REPLY,
    REPLY_ENTRY,
    STREAM_END,
)
from workers.protocol.request_entries import (
    CLOSE_STREAM,
    JOB,
    NEXT_CHUNK,
    NO_JSON_LENGTH,
    OPEN_STREAM,
    REQUEST_ENTRY,
    UNKNOWN_MEDIA_TYPE,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Protocol

    from workers.protocol.large_body import LargeBody
    from workers.protocol.messages import WorkerReply, WorkerRequest

    class Bodies(Protocol):
        """The bodies of a frame, one after the other, of which each slice is a body."""

        def __len__(self) -> int: ...

        def __getitem__(self, span: slice, /) -> bytes | LargeBody: ...


HEADER = struct.Struct("<IQd")
"""The number of replies, the bytes of all bodies together, and the seconds that the whole batch took."""
REQUEST_HEADER = struct.Struct("<IQQ")
"""The number of requests, the bytes of all bodies together, and the most bytes of all answers together."""
_MEDIA_TYPE_CODES = {name: code for code, name in enumerate(MEDIA_TYPES)}
_TYPE_OF_CODE = {**dict(enumerate(MEDIA_TYPES)), UNKNOWN_MEDIA_TYPE: ""}
_STREAM_KINDS = frozenset({NEXT_CHUNK, CLOSE_STREAM})
# From a tuple of all fields, in half the time that the class itself takes.
_new_job: Callable[[tuple[Any, ...]], Job] = partial(tuple.__new__, Job)
_new_reply: Callable[[tuple[Any, ...]], Reply] = partial(tuple.__new__, Reply)


def entries_size(count: int, *, of_requests: bool) -> int:
    """Return the bytes that `count` entries after a header take."""
    return count * (REQUEST_ENTRY.size if of_requests else REPLY_ENTRY.size)


def encode_requests(
    requests: Sequence[WorkerRequest], max_answer_bytes: int = MAX_ANSWER_BYTES
) -> list[bytes]:
    """Return a batch's frame in parts, so that no body is copied."""
    entries: list[bytes] = []
    bodies: list[bytes] = []
    for request in requests:
        kind, stream_id = _REQUEST_KINDS[type(request)], 0
        if kind != JOB:
            stream_id = request.stream_id  # type: ignore[union-attr] # all but jobs have one
            if kind != OPEN_STREAM:
                entries.append(REQUEST_ENTRY.pack(kind, 0, 0, 0, NO_JSON_LENGTH, stream_id, 0))
                continue
        job: Job = request.job if kind == OPEN_STREAM else request  # type: ignore[assignment, union-attr] # by kind
        body, content_type, accept, length, max_details = job
        entries.append(
            REQUEST_ENTRY.pack(
                kind,
                _MEDIA_TYPE_CODES.get(content_type, UNKNOWN_MEDIA_TYPE),
                _MEDIA_TYPE_CODES.get(accept, UNKNOWN_MEDIA_TYPE),
                max_details,
                NO_JSON_LENGTH if length is None else length,
                stream_id,
                len(body),
            )
        )
        bodies.append(body)
    return [REQUEST_HEADER.pack(len(entries), sum(map(len, bodies)), max_answer_bytes), *entries, *bodies]


def decode_requests(entries: bytes, bodies: bytes) -> tuple[WorkerRequest, ...]:
    """Return the batch of a frame that `encode_requests` made."""
    requests: list[WorkerRequest] = []
    offset = 0
    for kind, content_type, accept, max_details, length, stream_id, size in REQUEST_ENTRY.iter_unpack(
        entries
    ):
        if kind in _STREAM_KINDS:
            requests.append(NextChunk(stream_id) if kind == NEXT_CHUNK else CloseStream(stream_id))
            continue
        body = bodies if size == len(bodies) else bodies[offset : offset + size]
        offset += size
        json_length = None if length == NO_JSON_LENGTH else length
        job = _new_job((body, _TYPE_OF_CODE[content_type], _TYPE_OF_CODE[accept], json_length, max_details))
        requests.append(OpenStream(job, stream_id) if kind == OPEN_STREAM else job)
    return tuple(requests)


def encode_replies(
    replies: Iterable[WorkerReply | LoadReport], seconds: float, max_answer_bytes: int = MAX_ANSWER_BYTES
) -> list[bytes]:
    """Return the replies' frame in parts.

    A reply that cannot be encoded, or is too large for the frame, is replaced by a failure: nothing that
    a model does to one reply affects the others.
    """
    entries: list[bytes] = []
    bodies: list[bytes] = []
    for reply in replies:
        try:
            if type(reply) is Reply:
                body, reply_seconds, wrapped, content_type, length, _, rows = reply
                json_length = NO_JSON_LENGTH if length is None else length
                code = _MEDIA_TYPE_CODES[content_type]
                entry = REPLY_ENTRY.pack(REPLY, wrapped, code, json_length, reply_seconds, len(body), rows)
            else:
                entry, body = _encode_other(reply)
        except BaseException:  # noqa: BLE001 - whatever it was, the request gets an answer
            entry, body = _UNWRITABLE
        entries.append(entry)
        bodies.append(body)
    size = sum(map(len, bodies))
    if size > max_answer_bytes or size > MAX_FAILURES_BYTES:
        _fit_answers(entries, bodies, max_answer_bytes)
        _fit_failures(entries, bodies)
        size = sum(map(len, bodies))
    return [HEADER.pack(len(entries), size, seconds), *entries, *bodies]


def _encode_other(reply: WorkerReply | LoadReport) -> tuple[bytes, bytes]:
    """Return the entry and body of all but a `Reply`. Raises any exception if a field is of another type."""
    seconds = 0.0
    if isinstance(reply, Failure):
        kind, body = FAILURE, failure_body.encode(reply)
    elif isinstance(reply, Chunk):
        body, seconds = reply.body or b"", reply.seconds
        kind = CHUNK if reply.body is not None else STREAM_END
    elif isinstance(reply, LoadReport):
        kind, body, seconds = LOAD_REPORT, load_report_body.encode(reply), reply.seconds
    return REPLY_ENTRY.pack(kind, False, 0, NO_JSON_LENGTH, seconds, len(body), 0), body


def _fit_answers(entries: list[bytes], bodies: list[bytes], max_bytes: int) -> None:
    """Replace answers by failures until the others have at most `max_bytes` together.

    An answer that would fit alone is to be computed again, alone. The smallest ones stay.
    """
    answers = [number for number, entry in enumerate(entries) if entry[0] in ANSWERS]
    room = max_bytes
    for number in sorted(answers, key=lambda number: len(bodies[number])):
        if len(bodies[number]) <= room:
            room -= len(bodies[number])
            continue
        alone = len(bodies[number]) <= max_bytes
        text = f"The model's answer is larger than {room if alone else max_bytes} bytes."
        entries[number], bodies[number] = _encode_other(Failure("batch" if alone else "answer", text))


def _fit_failures(entries: list[bytes], bodies: list[bytes]) -> None:
    """Shorten failures so that the frame may have all of them; the first ones stay whole."""
    failures = [number for number, entry in enumerate(entries) if entry[0] == FAILURE]
    room = MAX_FAILURES_BYTES - sum(min(len(bodies[number]), failure_body.SMALL_BYTES) for number in failures)
    for number in failures:
        surplus = len(bodies[number]) - failure_body.SMALL_BYTES
        if surplus > room:
            bodies[number] = failure_body.encode_small(bodies[number])
            entries[number] = REPLY_ENTRY.pack(FAILURE, False, 0, NO_JSON_LENGTH, 0.0, len(bodies[number]), 0)
        else:
            room -= max(surplus, 0)


def decode_replies(entries: bytes, bodies: Bodies) -> tuple[WorkerReply | LoadReport, ...]:
    """Return the replies of a frame. Raises ProtocolError if it is not valid."""
    replies: list[WorkerReply | LoadReport] = []
    offset = problems = 0
    try:
        for kind, wrapped, content_type, length, seconds, size, rows in REPLY_ENTRY.iter_unpack(entries):
            body = bodies[offset : offset + size]
            if len(body) != size or not 0.0 <= seconds < inf:
                raise ProtocolError("a body that is too short, or a duration that is not valid")
            offset += size
            if kind == REPLY:
                if length == NO_JSON_LENGTH and type(body) is bytes:  # as almost every reply
                    media_type = MEDIA_TYPES[content_type]
                    replies.append(_new_reply((body, seconds, wrapped != 0, media_type, None, None, rows)))
                else:
                    media_type = MEDIA_TYPES[content_type]
                    reply = _reply(body, seconds, length, wrapped=wrapped != 0, media_type=media_type)
                    replies.append(reply._replace(rows=rows))
            elif kind in ANSWERS:
                replies.append(_chunk(body, seconds, is_end=kind == STREAM_END))
            else:
                other = _decode_other(kind, body, seconds)
                problems += len(other.details) if type(other) is Failure else 0
                if problems > MAX_ALL_PROBLEMS:
                    raise ProtocolError(f"more than {MAX_ALL_PROBLEMS} problems of all inputs together")
                replies.append(other)
    except (IndexError, TypeError, KeyError, ValueError, struct.error) as error:
        raise ProtocolError("a reply that is not valid for its kind") from error
    if offset != len(bodies):
        raise ProtocolError("bodies that are longer than their entries say")
    return tuple(replies)


def _reply(body: bytes | LargeBody, seconds: float, length: int, *, wrapped: bool, media_type: str) -> Reply:
    if not NO_JSON_LENGTH <= length <= len(body):
        raise ProtocolError("JSON that is longer than its body")
    json_length = None if length == NO_JSON_LENGTH else length
    if isinstance(body, bytes):
        return Reply(body, seconds, wrapped, media_type, json_length)
    return Reply(b"", seconds, wrapped, media_type, json_length, body)


def _chunk(body: bytes | LargeBody, seconds: float, *, is_end: bool) -> Chunk:
    if is_end:
        return Chunk(None, seconds)
    return Chunk(body, seconds) if isinstance(body, bytes) else Chunk(b"", seconds, body)


def _decode_other(kind: int, body: bytes | LargeBody, seconds: float) -> Failure | LoadReport:
    if kind == FAILURE and isinstance(body, bytes):
        return failure_body.decode(body)
    if kind == LOAD_REPORT and isinstance(body, bytes):
        return load_report_body.decode(body, seconds)
    raise ProtocolError("a reply of an unknown kind")


def is_valid_duration(seconds: float) -> bool:
    """Return whether `seconds` is not negative and finite, so that calculations stay free of NaN."""
    return 0.0 <= seconds < inf


_REQUEST_KINDS: dict[type, int] = {
    Job: JOB,
    OpenStream: OPEN_STREAM,
    NextChunk: NEXT_CHUNK,
    CloseStream: CLOSE_STREAM,
}
_UNWRITABLE = _encode_other(Failure("model", "The model's answer could not be sent."))
