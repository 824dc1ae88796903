"""The entries of a frame of replies, by which a frame is judged before any of its bodies is read."""

from __future__ import annotations

import struct
from typing import Final

from workers.protocol.bounds import (
    MAX_FAILURE_BYTES,
    MAX_FAILURES_BYTES,
    MAX_LOAD_REPORT_BYTES,
    ProtocolError,
    check_size,
)

REPLY_ENTRY: Final = struct.Struct("<BBBqdQI")
"""Kind, wrapped, content type, length of the JSON, seconds, length of the body, rows of the call."""
REPLY, CHUNK, STREAM_END, FAILURE, LOAD_REPORT = range(5)
ANSWERS: Final = frozenset({REPLY, CHUNK, STREAM_END})


def check_entries(entries: bytes, *, size: int, max_answer_bytes: int) -> None:
    """Raise ProtocolError if the bodies, of `size` bytes, are larger than those of their kinds may be.

    Nothing of the bodies need be there for that.
    """
    answers = failures = total = 0
    for kind, _, _, _, _, length, _ in REPLY_ENTRY.iter_unpack(entries):
        total += length
        if kind in ANSWERS:
            answers += length
        elif kind == FAILURE:
            failures += length
            check_size("a failure", length, MAX_FAILURE_BYTES)
        elif kind == LOAD_REPORT:
            check_size("a load report", length, MAX_LOAD_REPORT_BYTES)
        else:
            raise ProtocolError("a reply of an unknown kind")
    check_size("answers", answers, max_answer_bytes)
    check_size("failures", failures, MAX_FAILURES_BYTES)
    if total != size:
        raise ProtocolError(f"bodies of {size} bytes, where their entries say {total}")
