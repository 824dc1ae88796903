"""A limit for the memory of all request bodies that the gateway holds at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from workers.metrics import CounterSpec

if TYPE_CHECKING:
    from aiohttp import web

    from workers.metrics import Counters

UNCOUNTED_BYTES: Final = 16 * 1024
"""A body of at most this many bytes is not counted: the queue limit bounds all of those together."""

BODIES_REJECTED: Final = CounterSpec(
    "request_bodies_rejected",
    "Requests rejected for their body: timeout (it took too long to arrive), or memory (the limit for all"
    " bodies is reached).",
    ("reason",),
)


class BodyMemoryExceeded(Exception):
    """The memory for request bodies is used up."""


class BodyMemoryLimit:
    """A limiter that counts the bytes of request bodies by connection, each with one request at a time."""

    def __init__(self, limit: int, *, counters: Counters) -> None:
        self._limit = limit
        self._counters = counters
        self._bytes_by_connection: dict[web.RequestHandler, int] = {}
        self.reserved_bytes = 0

    def check(self, size: int) -> None:
        """Raise BodyMemoryExceeded if a body of `size` more bytes does not fit now."""
        if self.reserved_bytes + size > self._limit:
            self._counters.increment(BODIES_REJECTED, "memory")
            raise BodyMemoryExceeded

    def reserve(self, connection: web.RequestHandler, size: int) -> None:
        """Set the bytes of the connection's request to `size`, or raise BodyMemoryExceeded."""
        more = size - self._bytes_by_connection.get(connection, 0)
        if more > 0:
            self.check(more)
        self._bytes_by_connection[connection] = size
        self.reserved_bytes += more

    def release(self, connection: web.RequestHandler) -> None:
        """Release the bytes of the connection's request, because its response is ready."""
        self.reserved_bytes -= self._bytes_by_connection.pop(connection, 0)
