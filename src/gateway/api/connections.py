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

    from gateway.api.inflight import InFlightRequests
    from workers.metrics import Counters

logger = logging.getLogger(__name__)

_SWEEP_SECONDS: Final = 1.0
_CHECKS_PER_YIELD: Final = 250  # looked at in one turn of the loop
_MIN_PROGRESS_BYTES: Final = 64 * 1024  # bytes within the time of a stalled one
_CLOSE_BATCH_SIZE: Final = 64  # closed where descriptors are used up, whoever has them

CONNECTIONS_CLOSED: Final = CounterSpec(
    "connections_closed",
    "Connections closed by the gateway: stalled (its client took too little of the answer), unsent (it was"
    " among the slowest while answers that nobody took were too many bytes), or crowded (it was among the"
    " longest idle ones of too many).",
    ("reason",),
)


@dataclass(slots=True)
class _ConnectionState:
    """What the last look at a connection found.

    `asked` is whether it ever had a request, `used` when it had the last; `unsent` are the bytes of
    answers that waited to be taken at `moved`, when they last had become more, or fewer by enough.
    """

    transport: asyncio.Transport
    last_request: float
    last_progress: float
    unsent_bytes: int = 0
    had_request: bool = False


class ConnectionMonitor:
    """Looks at all connections once a second; those that have a request in hand are the drain's to know."""

    def __init__(
        self,
        in_flight: InFlightRequests,
        *,
        max_connections: Callable[[], int],
        stalled_seconds: float,
        max_unsent_bytes: int,
        counters: Counters,
    ) -> None:
        """So many stay open at most; an answer of which too little is taken for so long is given up.

        All answers that wait to be taken may come to `unsent_bytes`.
        """
        self._in_flight = in_flight
        self._max_connections = max_connections
        self._stalled_seconds = stalled_seconds
        self._max_unsent_bytes = max_unsent_bytes
        self._counters = counters
        self._watching = False
        self._recently_active: set[web.RequestHandler] = set()
        self._states: dict[web.RequestHandler, _ConnectionState] = {}
        self._closed_idle_count = 0
        self._over_limit = False

    def touch(self, connection: web.RequestHandler) -> None:
        """The request's answer is made."""
        if self._watching:
            self._recently_active.add(connection)

    async def watch(self, server: web.Server) -> None:
        """Look after the server's connections until cancelled."""
        self._watching = True
        try:
            while True:
                await asyncio.sleep(_SWEEP_SECONDS)
                await self._sweep(server)
                self._shed_slow_clients()
                self._close_idle_excess(len(self._states))
        finally:
            self._watching = False
            self._recently_active.clear()

    async def _sweep(self, server: web.Server) -> None:
        """See each connection, and end those that are stalled."""
        before, self._states = self._states, {}
        left, self._recently_active = self._recently_active, set()
        now = asyncio.get_running_loop().time()
        stalled = 0
        for number, connection in enumerate(server.connections, start=1):
            if number % _CHECKS_PER_YIELD == 0:
                await asyncio.sleep(0)
            seen = before.get(connection) or _new_state(connection, now)
            if seen is None:
                continue
            self._states[connection] = seen
            if self._in_flight.contains(connection) or connection in left:
                seen.last_request, seen.had_request = now, True
            stalled += self._abort_if_stalled(seen, now)
        if stalled:
            logger.warning(
                "%d clients took less than %d KiB of their answers in %g s: their connections are ended",
                stalled,
                _MIN_PROGRESS_BYTES // 1024,
                self._stalled_seconds,
            )

    def _abort_if_stalled(self, seen: _ConnectionState, now: float) -> bool:
        """Whether too little of an answer has been taken for too long; then the connection is ended.

        An answer may be large, and is held until it is taken: a byte now and then would keep it for ever.
        """
        unsent = _get_unsent_bytes(seen.transport)
        if not unsent or unsent > seen.unsent_bytes or seen.unsent_bytes - unsent >= _MIN_PROGRESS_BYTES:
            seen.unsent_bytes, seen.last_progress = unsent, now
        elif now - seen.last_progress >= self._stalled_seconds:
            seen.transport.abort()
            self._counters.increment(CONNECTIONS_CLOSED, "stalled")
            return True
        return False

    def _shed_slow_clients(self) -> None:
        """End the slowest where the answers that clients do not take are too many bytes; one always fits."""
        waiting = [
            seen for seen in self._states.values() if seen.unsent_bytes and not seen.transport.is_closing()
        ]
        sizes = [seen.transport.get_write_buffer_size() for seen in waiting]
        excess, ended = sum(sizes) - self._max_unsent_bytes, 0
        slowest_first = sorted(
            zip(waiting, sizes, strict=True), key=lambda each: (each[0].last_progress, -each[1])
        )
        for seen, size in slowest_first[:-1]:
            if excess <= 0:
                break
            seen.transport.abort()
            self._counters.increment(CONNECTIONS_CLOSED, "unsent")
            excess -= size
            ended += 1
        if ended:
            logger.warning("answers that nobody took were too many bytes: %d connections are ended", ended)

    def _close_idle_excess(self, count: int) -> None:
        """Close the longest idle connections where there are too many; tell of it once."""
        used_up, most = descriptors.fds_exhausted(), self._max_connections()
        excess = max(count - most, _CLOSE_BATCH_SIZE if used_up else 0)
        if excess > 0:
            if not self._over_limit:
                what = "descriptors are used up" if used_up else "as many as descriptors allow"
                logger.warning("%d connections are open, %s: the longest idle ones are closed", count, what)
            self._over_limit = True
            self._close_idle(excess)
        elif self._over_limit and count <= most * 7 // 8:
            logger.warning(
                "connections are few enough again; %d idle ones were closed", self._closed_idle_count
            )
            self._over_limit, self._closed_idle_count = False, 0

    def _close_idle(self, excess: int) -> None:
        """Those first that never asked for anything."""
        idle = [
            (seen.had_request, seen.last_request, connection)
            for connection, seen in self._states.items()
            if not seen.unsent_bytes
            and not seen.transport.is_closing()
            and not self._in_flight.contains(connection)
            and connection not in self._recently_active
        ]
        idle.sort(key=lambda each: each[:2])
        for *_, connection in idle[:excess]:
            connection.force_close()
            self._counters.increment(CONNECTIONS_CLOSED, "crowded")
            self._closed_idle_count += 1


def _get_unsent_bytes(transport: asyncio.Transport) -> int:
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


def _new_state(connection: web.RequestHandler, now: float) -> _ConnectionState | None:
    """A connection that has just come; None where it is gone already."""
    transport = connection.transport
    return None if transport is None else _ConnectionState(transport, now, now)
