"""The connections of clients: none is stuck for ever, and never more than there are descriptors for.

aiohttp closes those that send no whole head of a request for so long (its `keepalive_timeout`). This room
ends those whose client takes nothing of its answer, and the longest idle ones where there are too many.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import sys
import termios
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.system import descriptors
from workers.metrics import CounterSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from gateway.api.inflight import Drain
    from workers.metrics import Counters

logger = logging.getLogger(__name__)

_SWEEP_SECONDS: Final = 1.0
_SLICE: Final = 250  # looked at in one turn of the loop
_LEAST_TAKEN: Final = 64 * 1024  # bytes within the time of a stalled one
_AT_A_TIME: Final = 64  # closed where descriptors are used up, whoever has them

CONNECTIONS_CLOSED: Final = CounterSpec(
    "connections_closed",
    "Connections closed by the gateway: stalled (its client took too little of the answer), unsent (it was"
    " among the slowest while answers that nobody took were too many bytes), or crowded (it was among the"
    " longest idle ones of too many).",
    ("reason",),
)


@dataclass(slots=True)
class _Seen:
    """What the last look at a connection found.

    `asked` is whether it ever had a request, `used` when it had the last; `unsent` are the bytes of
    answers that waited to be taken at `moved`, when they last had become more, or fewer by enough.
    """

    transport: asyncio.Transport
    used: float
    moved: float
    unsent: int = 0
    asked: bool = False


class Connections:
    """Looks at all connections once a second; those that have a request in hand are the drain's to know."""

    def __init__(
        self,
        drain: Drain,
        *,
        most: Callable[[], int],
        stalled_seconds: float,
        unsent_bytes: int,
        tally: Counters,
    ) -> None:
        """So many stay open at most; an answer of which too little is taken for so long is given up.

        All answers that wait to be taken may come to `unsent_bytes`.
        """
        self._drain = drain
        self._most = most
        self._stalled_seconds = stalled_seconds
        self._unsent_bytes = unsent_bytes
        self._tally = tally
        self._watched = False
        self._left: set[web.RequestHandler] = set()
        self._seen: dict[web.RequestHandler, _Seen] = {}
        self._crowd = 0
        self._is_crowded = False

    def leave(self, connection: web.RequestHandler) -> None:
        """The request's answer is made."""
        if self._watched:
            self._left.add(connection)

    async def watch(self, server: web.Server) -> None:
        """Look after the server's connections until cancelled."""
        self._watched = True
        try:
            while True:
                await asyncio.sleep(_SWEEP_SECONDS)
                await self._look(server)
                self._relieve()
                self._make_room(len(self._seen))
        finally:
            self._watched = False
            self._left.clear()

    async def _look(self, server: web.Server) -> None:
        """See each connection, and end those that are stalled."""
        before, self._seen = self._seen, {}
        left, self._left = self._left, set()
        now = asyncio.get_running_loop().time()
        stalled = 0
        for number, connection in enumerate(server.connections, start=1):
            if number % _SLICE == 0:
                await asyncio.sleep(0)
            seen = before.get(connection) or _first(connection, now)
            if seen is None:
                continue
            self._seen[connection] = seen
            if self._drain.holds(connection) or connection in left:
                seen.used, seen.asked = now, True
            stalled += self._is_stalled(seen, now)
        if stalled:
            logger.warning(
                "%d clients took less than %d KiB of their answers in %g s: their connections are ended",
                stalled,
                _LEAST_TAKEN // 1024,
                self._stalled_seconds,
            )

    def _is_stalled(self, seen: _Seen, now: float) -> bool:
        """Whether too little of an answer has been taken for too long; then the connection is ended.

        An answer may be large, and is held until it is taken: a byte now and then would keep it for ever.
        """
        unsent = _unsent(seen.transport)
        if not unsent or unsent > seen.unsent or seen.unsent - unsent >= _LEAST_TAKEN:
            seen.unsent, seen.moved = unsent, now
        elif now - seen.moved >= self._stalled_seconds:
            seen.transport.abort()
            self._tally.increment(CONNECTIONS_CLOSED, "stalled")
            return True
        return False

    def _relieve(self) -> None:
        """End the slowest where the answers that clients do not take are too many bytes; one always fits."""
        waiting = [seen for seen in self._seen.values() if seen.unsent and not seen.transport.is_closing()]
        sizes = [seen.transport.get_write_buffer_size() for seen in waiting]
        excess, ended = sum(sizes) - self._unsent_bytes, 0
        slowest_first = sorted(zip(waiting, sizes, strict=True), key=lambda each: (each[0].moved, -each[1]))
        for seen, size in slowest_first[:-1]:
            if excess <= 0:
                break
            seen.transport.abort()
            self._tally.increment(CONNECTIONS_CLOSED, "unsent")
            excess -= size
            ended += 1
        if ended:
            logger.warning("answers that nobody took were too many bytes: %d connections are ended", ended)

    def _make_room(self, count: int) -> None:
        """Close the longest idle connections where there are too many; tell of it once."""
        used_up, most = descriptors.used_up(), self._most()
        excess = max(count - most, _AT_A_TIME if used_up else 0)
        if excess > 0:
            if not self._is_crowded:
                what = "descriptors are used up" if used_up else "as many as descriptors allow"
                logger.warning("%d connections are open, %s: the longest idle ones are closed", count, what)
            self._is_crowded = True
            self._close_idle(excess)
        elif self._is_crowded and count <= most * 7 // 8:
            logger.warning("connections are few enough again; %d idle ones were closed", self._crowd)
            self._is_crowded, self._crowd = False, 0

    def _close_idle(self, excess: int) -> None:
        """Those first that never asked for anything."""
        idle = [
            (seen.asked, seen.used, connection)
            for connection, seen in self._seen.items()
            if not seen.unsent
            and not seen.transport.is_closing()
            and not self._drain.holds(connection)
            and connection not in self._left
        ]
        idle.sort(key=lambda each: each[:2])
        for *_, connection in idle[:excess]:
            connection.force_close()
            self._tally.increment(CONNECTIONS_CLOSED, "crowded")
            self._crowd += 1


def _unsent(transport: asyncio.Transport) -> int:
    """The bytes of answers that the client has not taken; 0 where the rest fits into the kernel's buffer.

    Those in that buffer count too: the kernel asks for more only once a third of it is free again, which
    takes a slow client minutes.
    """
    if not (unsent := transport.get_write_buffer_size()):
        return 0
    try:
        queued = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        return unsent
    return unsent + int.from_bytes(queued, sys.byteorder)


def _first(connection: web.RequestHandler, now: float) -> _Seen | None:
    """A connection that has just come; None where it is gone already."""
    transport = connection.transport
    return None if transport is None else _Seen(transport, now, now)
