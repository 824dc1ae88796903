"""The bytes of request bodies that are held at once: while they come, wait for a model, and are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from workers.metrics import CounterSpec

if TYPE_CHECKING:
    from aiohttp import web

    from workers.metrics import Counters

SMALL: Final = 16 * 1024
"""A body of so many bytes is not counted: all that may wait for a model are few beside what it takes."""

BODIES_REFUSED: Final = CounterSpec(
    "bodies_refused",
    "Requests refused for their body: slow (to come), or full (as many bytes as allowed are held already).",
    ("reason",),
)


class IntakeFull(Exception):
    """As many bytes of bodies as allowed are held already."""


class Intake:
    """Counts what is held of the bodies, by connection, of which each has one request at a time."""

    def __init__(self, limit: int, *, tally: Counters) -> None:
        self._limit = limit
        self._tally = tally
        self._of: dict[web.RequestHandler, int] = {}
        self.held = 0

    def expect(self, size: int) -> None:
        """Raise IntakeFull where a body of `size` bytes would not fit now."""
        if self.held + size > self._limit:
            self._tally.increment(BODIES_REFUSED, "full")
            raise IntakeFull

    def hold(self, connection: web.RequestHandler, size: int) -> None:
        """Note that its request holds `size` bytes in all now; raises IntakeFull, and notes nothing."""
        more = size - self._of.get(connection, 0)
        if more > 0:
            self.expect(more)
        self._of[connection] = size
        self.held += more

    def release(self, connection: web.RequestHandler) -> None:
        """The connection's request has its answer."""
        self.held -= self._of.pop(connection, 0)
