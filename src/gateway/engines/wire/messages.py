"""The messages between a gateway and a node: requests one way, replies the other, and JSON for the rest.

The first byte of a message is its kind. Nothing is unpickled on either side, and neither trusts the other: a
message that is not valid raises WireError, and the receiver ends the link.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import orjson

from gateway.engines.wire import control
from gateway.engines.wire.errors import error_from_dict, error_to_dict
from gateway.engines.wire.fields import WireError
from workers.protocol import framing, request_entries
from workers.protocol.bounds import MAX_ENTRIES, MAX_FAILURE_BYTES, ProtocolError
from workers.protocol.messages import Chunk, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.engines.wire.control import GatewayControl, NodeControl
    from workers.protocol.messages import WorkerRequest

    Part = bytes | memoryview

Control = TypeVar("Control")

MAX_BATCH: Final = MAX_ENTRIES
"""The most requests of one JOBS message, and the most replies of one REPLIES message."""
MAX_CONTROL_BYTES: Final = 8 * 2**20
"""A CONTROL message: parsed on the event loop of the receiver."""
MAX_ERROR_BYTES: Final = 4 * MAX_FAILURE_BYTES
"""An ERROR message, whose text clients read: a worker's failure, which JSON may make longer."""
MAX_OVERHEAD_BYTES: Final = 2**20
"""All of a JOBS or REPLIES message that are not bodies."""

JOBS, REPLIES, ERROR, CANCEL, CONTROL = range(1, 6)
_COUNT = struct.Struct("<BI")
_JOB = struct.Struct("<QI")
_ID = struct.Struct("<BQ")
_NO_LIMIT: Final = 2**63 - 1


class Jobs(NamedTuple):
    """Requests, and for each the id of its job and the number that the link gave its model."""

    ids: tuple[int, ...]
    models: tuple[int, ...]
    requests: tuple[WorkerRequest, ...]


class Replies(NamedTuple):
    """Replies, and for each the id of its job."""

    ids: tuple[int, ...]
    replies: tuple[Reply | Chunk, ...]


class JobFailed(NamedTuple):
    """The error that ended a job."""

    id: int
    error: Exception


class Cancel(NamedTuple):
    """The client of a job went away."""

    id: int


def largest_message(max_body_bytes: int) -> int:
    """Return the bytes of the largest message, if no body in it is larger than `max_body_bytes`."""
    return max(max_body_bytes, MAX_CONTROL_BYTES) + MAX_OVERHEAD_BYTES


def encode_jobs(jobs: Sequence[tuple[int, int]], requests: Sequence[WorkerRequest]) -> list[bytes]:
    """Return a message of at most MAX_BATCH requests; `jobs` has the id and the model's number of each."""
    head = b"".join([_COUNT.pack(JOBS, len(jobs)), *[_JOB.pack(*job) for job in jobs]])
    return [head, *framing.encode_requests(requests)]


def encode_replies(ids: Sequence[int], replies: Sequence[Reply | Chunk]) -> list[Part]:
    """Return a message of at most MAX_BATCH replies. Bodies in pieces are read, and so are of one use."""
    head = struct.pack(f"<BI{len(ids)}Q", REPLIES, len(ids), *ids)
    if all(reply.large is None for reply in replies):
        return [head, *framing.encode_replies(replies, 0.0, _NO_LIMIT)]
    whole = [reply if reply.large is None else _joined(reply) for reply in replies]
    return [head, *framing.encode_replies(whole, 0.0, _NO_LIMIT)]


def encode_error(job_id: int, error: BaseException) -> list[bytes]:
    """Return a message that a job failed."""
    return [_ID.pack(ERROR, job_id), orjson.dumps(error_to_dict(error))]


def encode_cancel(job_id: int) -> list[bytes]:
    """Return a message that the client of a job went away."""
    return [_ID.pack(CANCEL, job_id)]


def encode_control(message: GatewayControl | NodeControl) -> list[bytes]:
    """Return a message of JSON."""
    return [bytes([CONTROL]), orjson.dumps(control.to_dict(message))]


def decode_from_gateway(message: bytes) -> Jobs | Cancel | GatewayControl:
    """Return what a gateway sent to a node. Raise WireError."""
    kind = message[0] if message else 0
    if kind == JOBS:
        return _decode_jobs(message)
    if kind == CANCEL:
        return Cancel(_decode_id(message, longest=_ID.size))
    if kind == CONTROL:
        return _decode_control(message, control.from_gateway)
    raise WireError("a message of a kind that no gateway sends")


def decode_from_node(message: bytes) -> Replies | JobFailed | NodeControl:
    """Return what a node sent to a gateway. Raise WireError."""
    kind = message[0] if message else 0
    if kind == REPLIES:
        return _decode_replies(message)
    if kind == ERROR:
        job_id = _decode_id(message, longest=MAX_ERROR_BYTES)
        return JobFailed(job_id, error_from_dict(_parse(message[_ID.size :])))
    if kind == CONTROL:
        return _decode_control(message, control.from_node)
    raise WireError("a message of a kind that no node sends")


def _joined(reply: Reply | Chunk) -> Reply | Chunk:
    """Return a reply whose body is in one piece."""
    body = b"".join(reply.large or ())
    if type(reply) is Reply:
        return reply._replace(body=body, large=None)
    return Chunk(body, reply.seconds)


def _decode_jobs(message: bytes) -> Jobs:
    try:
        count = _count(message)
        start = _COUNT.size + count * _JOB.size
        pairs = list(_JOB.iter_unpack(message[_COUNT.size : start]))
        requests, size, _ = framing.REQUEST_HEADER.unpack_from(message, start)
        entries_at = start + framing.REQUEST_HEADER.size
        bodies_at = entries_at + framing.entries_size(count, of_requests=True)
        entries, bodies = message[entries_at:bodies_at], message[bodies_at:]
        if not len(pairs) == requests == count or size != len(bodies):
            raise WireError("requests whose numbers do not fit")
        request_entries.check_entries(entries, size=size)
        decoded = framing.decode_requests(entries, bodies)
    except (ProtocolError, struct.error) as error:
        raise WireError("requests that are not valid") from error
    if len(decoded) != count:
        raise WireError("requests whose numbers do not fit")
    return Jobs(tuple([pair[0] for pair in pairs]), tuple([pair[1] for pair in pairs]), decoded)


def _decode_replies(message: bytes) -> Replies:
    try:
        count = _count(message)
        start = _COUNT.size + count * 8
        ids = struct.unpack(f"<{count}Q", message[_COUNT.size : start])
        replies, size, _ = framing.HEADER.unpack_from(message, start)
        entries_at = start + framing.HEADER.size
        bodies_at = entries_at + framing.entries_size(count, of_requests=False)
        entries, bodies = message[entries_at:bodies_at], message[bodies_at:]
        if replies != count or size != len(bodies):
            raise WireError("replies whose numbers do not fit")
        decoded = framing.decode_replies(entries, bodies)
    except (ProtocolError, struct.error) as error:
        raise WireError("replies that are not valid") from error
    answers = tuple([reply for reply in decoded if type(reply) is Reply or type(reply) is Chunk])
    if len(answers) != count:
        raise WireError("replies that are no answers")
    return Replies(ids, answers)


def _count(message: bytes) -> int:
    _, count = _COUNT.unpack_from(message)
    if not 1 <= count <= MAX_BATCH:
        raise WireError("a batch that is empty or too long")
    return int(count)


def _decode_id(message: bytes, *, longest: int) -> int:
    if not _ID.size <= len(message) <= longest:
        raise WireError("a message of a length that its kind does not have")
    return int(_ID.unpack_from(message)[1])


def _decode_control(message: bytes, parse: Callable[[Any], Control]) -> Control:
    if len(message) > MAX_CONTROL_BYTES:
        raise WireError("a control message that is too long")
    return parse(_parse(message[1:]))


def _parse(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise WireError("a message that is no JSON") from error
