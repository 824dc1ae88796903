"""The bytes of request bodies that are held at once: while they come, wait for a model, and are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from workers.metrics import CounterSpec

if TYPE_CHECKING:
    from aiohttp import web

    from workers.metrics import Counters

UNCOUNTED_BYTES: Final = 16 * 1024
"""A body of so many bytes is not counted: all that may wait for a model are few beside what it takes."""

BODIES_REJECTED: Final = CounterSpec(
    "bodies_refused",
    "Requests refused for their body: slow (to come), or full (as many bytes as allowed are held already).",
    ("reason",),
)


class BodyMemoryExceeded(Exception):
    """As many bytes of bodies as allowed are held already."""


class BodyMemoryLimit:
    """Counts what is held of the bodies, by connection, of which each has one request at a time."""

    def __init__(self, limit: int, *, counters: Counters) -> None:
        self._limit = limit
        self._counters = counters
        self._bytes_by_connection: dict[web.RequestHandler, int] = {}
        self.reserved_bytes = 0

    def check(self, size: int) -> None:
        """Raise BodyMemoryExceeded where a body of `size` bytes would not fit now."""
        if self.reserved_bytes + size > self._limit:
            self._counters.increment(BODIES_REJECTED, "full")
            raise BodyMemoryExceeded

    def reserve(self, connection: web.RequestHandler, size: int) -> None:
        """Note that its request holds `size` bytes in all now; raises BodyMemoryExceeded, and notes nothing."""
        more = size - self._bytes_by_connection.get(connection, 0)
        if more > 0:
            self.check(more)
        self._bytes_by_connection[connection] = size
        self.reserved_bytes += more

    def release(self, connection: web.RequestHandler) -> None:
        """The connection's request has its answer."""
        self.reserved_bytes -= self._bytes_by_connection.pop(connection, 0)
