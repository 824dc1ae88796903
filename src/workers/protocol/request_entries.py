"""The entries of a frame of requests, by which one from another machine is judged before it is decoded."""

from __future__ import annotations

import struct
from typing import Final

from workers.protocol.bounds import ProtocolError
from workers.protocol.messages import MAX_DETAILS, MEDIA_TYPES

REQUEST_ENTRY: Final = struct.Struct("<BBBBqQQ")
"""Kind, content type, accepted type, most details, length of the JSON, stream id, length of the body."""
UNKNOWN_MEDIA_TYPE: Final = 255
JOB, OPEN_STREAM, NEXT_CHUNK, CLOSE_STREAM = range(4)
NO_JSON_LENGTH: Final = -1


def check_entries(entries: bytes, *, size: int) -> None:
    """Raise ProtocolError if an entry is not valid, or if bodies of `size` bytes are not what they say."""
    total, known = 0, len(MEDIA_TYPES)
    for kind, content_type, accept, max_details, length, _, body_size in REQUEST_ENTRY.iter_unpack(entries):
        total += body_size
        if kind <= OPEN_STREAM:
            for code in (content_type, accept):
                if code >= known and code != UNKNOWN_MEDIA_TYPE:
                    raise ProtocolError(f"the media type {code}")
            if not 1 <= max_details <= MAX_DETAILS or length < NO_JSON_LENGTH:
                raise ProtocolError("a request whose numbers are out of range")
        elif kind > CLOSE_STREAM or body_size:
            raise ProtocolError("a request of an unknown kind, or a body where none may be")
    if total != size:
        raise ProtocolError(f"bodies of {size} bytes, where their entries say {total}")
