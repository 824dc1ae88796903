"""Encode and decode the frames between the gateway and a worker: batches one way, replies the other.

A frame is a header, an entry of fixed size for each request or reply, and their bodies one after the other.
Nothing is unpickled on either side. A worker runs code that others wrote, so the gateway trusts none of
the bytes that come from it.
"""

from __future__ import annotations

import struct
from math import inf
from typing import TYPE_CHECKING

import orjson

from workers.protocol import failure_body
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
    RowBatching,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workers.protocol.messages import WorkerReply, WorkerRequest

HEADER = struct.Struct("<IQd")
"""The number of entries, the bytes of all bodies together, and the seconds that the whole batch took."""
# kind, content type, accepted type, length of the JSON, stream id, length of the body
_REQUEST_ENTRY = struct.Struct("<BBBqQQ")
# kind, wrapped, content type, length of the JSON, seconds, length of the body
_REPLY_ENTRY = struct.Struct("<BBBqdQ")
MAX_ENTRIES = 4096
MAX_BYTES = 2**30
"""The bodies of a frame of replies, together. A worker replaces larger replies by failures."""
_MEDIA_TYPE_CODES = {name: code for code, name in enumerate(MEDIA_TYPES)}
_UNKNOWN_MEDIA_TYPE = 255
_JOB, _OPEN_STREAM, _NEXT_CHUNK, _CLOSE_STREAM = range(4)
_STREAM_KINDS = frozenset({_NEXT_CHUNK, _CLOSE_STREAM})
_REPLY, _CHUNK, _STREAM_END, _FAILURE, _LOAD_REPORT = range(5)
_NO_JSON_LENGTH = -1
_MAX_REASON_CHARS = 2_000


class ProtocolError(Exception):
    """The bytes are not a valid frame."""


def entries_size(count: int, *, of_requests: bool) -> int:
    """Return the bytes that `count` entries after a header take."""
    return count * (_REQUEST_ENTRY.size if of_requests else _REPLY_ENTRY.size)


def encode_requests(requests: Sequence[WorkerRequest]) -> list[bytes]:
    """Return a batch's frame in parts, so that no body is copied."""
    entries: list[bytes] = []
    bodies: list[bytes] = []
    for request in requests:
        kind, stream_id = _REQUEST_KINDS[type(request)], 0
        if kind != _JOB:
            stream_id = request.stream_id  # type: ignore[union-attr] # all but jobs have one
            if kind != _OPEN_STREAM:
                entries.append(_REQUEST_ENTRY.pack(kind, 0, 0, _NO_JSON_LENGTH, stream_id, 0))
                continue
        job: Job = request.job if kind == _OPEN_STREAM else request  # type: ignore[assignment, union-attr] # by kind
        body, content_type, accept, length = job
        entries.append(
            _REQUEST_ENTRY.pack(
                kind,
                _MEDIA_TYPE_CODES.get(content_type, _UNKNOWN_MEDIA_TYPE),
                _MEDIA_TYPE_CODES.get(accept, _UNKNOWN_MEDIA_TYPE),
                _NO_JSON_LENGTH if length is None else length,
                stream_id,
                len(body),
            )
        )
        bodies.append(body)
    return [HEADER.pack(len(entries), sum(map(len, bodies)), 0.0), *entries, *bodies]


def decode_requests(entries: bytes, bodies: bytes) -> tuple[WorkerRequest, ...]:
    """Return the batch of a frame that `encode_requests` made."""
    requests: list[WorkerRequest] = []
    offset = 0
    for kind, content_type, accept, length, stream_id, size in _REQUEST_ENTRY.iter_unpack(entries):
        if kind in _STREAM_KINDS:
            requests.append(NextChunk(stream_id) if kind == _NEXT_CHUNK else CloseStream(stream_id))
            continue
        body = bodies if size == len(bodies) else bodies[offset : offset + size]
        offset += size
        job = Job(
            body,
            _media_type(content_type),
            _media_type(accept),
            None if length == _NO_JSON_LENGTH else length,
        )
        requests.append(OpenStream(job, stream_id) if kind == _OPEN_STREAM else job)
    return tuple(requests)


def encode_replies(replies: Iterable[WorkerReply | LoadReport], seconds: float) -> list[bytes]:
    """Return the replies' frame in parts.

    A reply that cannot be encoded, or is too large for the frame, is replaced by a failure: nothing that
    a model does to one reply affects the others.
    """
    entries: list[bytes] = []
    bodies: list[bytes] = []
    for reply in replies:
        try:
            if type(reply) is Reply:
                body, reply_seconds, wrapped, content_type, length = reply
                json_length = _NO_JSON_LENGTH if length is None else length
                code = _MEDIA_TYPE_CODES[content_type]
                entry = _REPLY_ENTRY.pack(_REPLY, wrapped, code, json_length, reply_seconds, len(body))
            else:
                entry, body = _encode_other(reply)
        except BaseException:  # noqa: BLE001 - whatever it was, the request gets an answer
            entry, body = _UNWRITABLE
        entries.append(entry)
        bodies.append(body)
    size = sum(map(len, bodies))
    if size > MAX_BYTES:
        _replace_oversized(entries, bodies)
        size = sum(map(len, bodies))
    return [HEADER.pack(len(entries), size, seconds), *entries, *bodies]


def _encode_other(reply: WorkerReply | LoadReport) -> tuple[bytes, bytes]:
    """Return the entry and body of all but a `Reply`. Raises any exception if a field is of another type."""
    seconds = 0.0
    if isinstance(reply, Failure):
        kind, body = _FAILURE, failure_body.encode(reply)
    elif isinstance(reply, Chunk):
        body, seconds = reply.body or b"", reply.seconds
        kind = _CHUNK if reply.body is not None else _STREAM_END
    elif isinstance(reply, LoadReport):
        kind, body, seconds = _LOAD_REPORT, _encode_load_report(reply), reply.seconds
    return _REPLY_ENTRY.pack(kind, False, 0, _NO_JSON_LENGTH, seconds, len(body)), body


def _replace_oversized(entries: list[bytes], bodies: list[bytes]) -> None:
    """Replace the largest bodies by failures, so that the gateway accepts the frame."""
    share = MAX_BYTES // len(bodies)
    failure = Failure("answer", f"The model's answer is larger than {share} bytes.")
    for number, body in enumerate(bodies):
        if len(body) > share:
            entries[number], bodies[number] = _encode_other(failure)


def decode_replies(entries: bytes, bodies: bytes) -> tuple[WorkerReply | LoadReport, ...]:
    """Return the replies of a frame. Raises ProtocolError if it is not valid."""
    replies: list[WorkerReply | LoadReport] = []
    offset = 0
    try:
        for kind, wrapped, content_type, length, seconds, size in _REPLY_ENTRY.iter_unpack(entries):
            body = bodies[offset : offset + size]
            if len(body) != size or not is_valid_duration(seconds):
                raise ProtocolError("a body is too short, or a duration is not valid")
            offset += size
            if kind == _REPLY:
                if not _NO_JSON_LENGTH <= length <= size:
                    raise ProtocolError("the JSON of a body is longer than the body")
                json_length = None if length == _NO_JSON_LENGTH else length
                replies.append(Reply(body, seconds, wrapped != 0, MEDIA_TYPES[content_type], json_length))
            elif kind == _FAILURE:
                replies.append(failure_body.decode(body))
            elif kind in {_CHUNK, _STREAM_END}:
                replies.append(Chunk(None if kind == _STREAM_END else body, seconds))
            elif kind == _LOAD_REPORT:
                replies.append(_decode_load_report(body, seconds))
            else:
                raise ProtocolError("a reply is of an unknown kind")
    except (IndexError, TypeError, KeyError, ValueError, struct.error) as error:
        raise ProtocolError("a reply is not valid for its kind") from error
    if offset != len(bodies):
        raise ProtocolError("the bodies are longer than their entries say")
    return tuple(replies)


def is_valid_duration(seconds: float) -> bool:
    """Return whether `seconds` is not negative and finite, so that calculations stay free of NaN."""
    return 0.0 <= seconds < inf


def _media_type(code: int) -> str:
    return MEDIA_TYPES[code] if code != _UNKNOWN_MEDIA_TYPE else ""


def _encode_load_report(report: LoadReport) -> bytes:
    enabled, reason = report.row_batching
    return orjson.dumps(
        [report.preloaded, report.streamable, enabled, failure_body.to_text(reason, _MAX_REASON_CHARS)]
    )


def _decode_load_report(body: bytes, seconds: float) -> LoadReport:
    *flags, reason = orjson.loads(body)
    if not all(isinstance(flag, bool) for flag in flags) or not isinstance(reason, str):
        raise ProtocolError("a load report is not valid")
    preloaded, streamable, enabled = flags
    return LoadReport(seconds, preloaded, streamable, RowBatching(enabled, reason))


_REQUEST_KINDS: dict[type, int] = {
    Job: _JOB,
    OpenStream: _OPEN_STREAM,
    NextChunk: _NEXT_CHUNK,
    CloseStream: _CLOSE_STREAM,
}
_UNWRITABLE = _encode_other(Failure("model", "The model's answer could not be sent."))
