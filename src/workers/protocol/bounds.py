"""The bounds of what a worker may send, and the error for what breaks them.

A worker runs code that others wrote, and that code can write to the worker's socket.
"""

from __future__ import annotations

from typing import Final

MAX_ENTRIES: Final = 4096
"""The requests of one batch, and so the replies of one frame."""
MAX_ANSWER_BYTES: Final = 2**28
"""The answers, or the chunk of a stream, of one frame together, if no setting says otherwise."""
MAX_FAILURE_BYTES: Final = 2**18
MAX_FAILURES_BYTES: Final = 2**21
"""All failures of one frame together: the gateway parses them on its event loop."""
MAX_PROBLEMS: Final = 1_000
"""The input problems of one failure."""
MAX_ALL_PROBLEMS: Final = 25_600
"""The input problems of all failures of one frame."""
MAX_LOAD_REPORT_BYTES: Final = 4 * 1024
MAX_OTHER_BYTES: Final = MAX_FAILURES_BYTES + MAX_LOAD_REPORT_BYTES
"""All bodies of one frame that are no answers, together."""


class ProtocolError(Exception):
    """The bytes are not a valid frame.

    The text says what was sent and what is allowed. Clients read it: it holds numbers, and no text that a
    worker sent.
    """


def check_size(what: str, size: int, limit: int) -> None:
    """Raise ProtocolError if `what` is larger than `limit`, in bytes."""
    if size > limit:
        raise ProtocolError(f"{what} of {size} bytes, where {limit} are allowed")
