"""Closing of client connections that read too slowly, and of idle connections if there are too many.

aiohttp itself closes a connection that does not send a whole request head within its `keepalive_timeout`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final

from gateway.api.unsent import buffered_bytes, unsent_bytes
from gateway.system import descriptors
from workers.metrics import CounterSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from aiohttp import web

    from gateway.api.inflight import InFlightRequests
    from workers.metrics import Counters

logger = logging.getLogger(__name__)

_SWEEP_SECONDS: Final = 1.0
_CHECKS_PER_YIELD: Final = 250  # connections checked before the event loop gets its turn
_ANSWER_STALLED_SECONDS: Final = 5.0  # for a client to make progress while another's answer waits for memory
_MIN_PROGRESS_BYTES: Final = 64 * 1024  # that a client must read within `stalled_seconds`
_CLOSE_BATCH_SIZE: Final = 64  # idle connections closed in one sweep if descriptors are used up

CONNECTIONS_CLOSED: Final = CounterSpec(
    "connections_closed",
    "Connections closed by the gateway: slow_reader (the client read too little of its response),"
    " send_buffer (one of the slowest clients while all unsent responses took too much memory), or limit (one"
    " of the longest idle connections while there were too many).",
    ("reason",),
)


@dataclass(slots=True)
class _ConnectionState:
    """The state of a connection at the last sweep; times are seconds of the monitor's clock.

    `unsent_bytes` of responses were waiting at `last_progress`, when the client had last read enough of them.
    """

    transport: asyncio.Transport
    last_request: float
    last_progress: float
    unsent_bytes: int = 0
    had_request: bool = False


class ConnectionMonitor:
    """A monitor that sweeps all connections once a second and closes slow and surplus ones."""

    def __init__(
        self,
        in_flight: InFlightRequests,
        *,
        max_connections: Callable[[], int],
        stalled_seconds: float,
        max_unsent_bytes: int,
        counters: Counters,
        blocking: Callable[[], Collection[web.RequestHandler]] = tuple,
        sweep_seconds: float = _SWEEP_SECONDS,
        checks_per_yield: int = _CHECKS_PER_YIELD,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """At most `max_connections()` stay open; all unsent responses together hold `max_unsent_bytes`.

        A client has `stalled_seconds` to read some of its response. `in_flight` knows the busy connections.
        `blocking` returns those whose large answers take the memory that another answer waits for.
        """
        self._in_flight = in_flight
        self.max_connections = max_connections
        self._stalled_seconds = stalled_seconds
        self._max_unsent_bytes = max_unsent_bytes
        self._counters = counters
        self._blocking = blocking
        self._sweep_seconds = sweep_seconds
        self._checks_per_yield = checks_per_yield
        self._clock = clock
        self._watching = False
        self._recently_active: set[web.RequestHandler] = set()
        self._states: dict[web.RequestHandler, _ConnectionState] = {}
        self._closed_idle_count = 0
        self._over_limit = False

    def touch(self, connection: web.RequestHandler) -> None:
        """Record that a response of the connection is ready."""
        if self._watching:
            self._recently_active.add(connection)

    async def watch(self, server: web.Server) -> None:
        """Sweep the server's connections again and again, until cancelled."""
        self._watching = True
        try:
            while True:
                await asyncio.sleep(self._sweep_seconds)
                await self.sweep(server)
        finally:
            self._watching = False
            self._recently_active.clear()

    async def sweep(self, server: web.Server) -> None:
        """Check every connection once, and close those that are stalled or too many."""
        await self._check_all(server)
        self._shed_slow_clients()
        self._shed_blocking_clients()
        self._close_idle_excess(len(self._states))

    async def _check_all(self, server: web.Server) -> None:
        previous, self._states = self._states, {}
        active, self._recently_active = self._recently_active, set()
        now, stalled = self._clock(), 0
        for number, connection in enumerate(server.connections, start=1):
            if number % self._checks_per_yield == 0:
                await asyncio.sleep(0)
            state = previous.get(connection) or _new_state(connection, now)
            if state is None:
                continue
            self._states[connection] = state
            if self._in_flight.contains(connection) or connection in active:
                state.last_request, state.had_request = now, True
            stalled += self._abort_if_stalled(state, now)
        if stalled:
            logger.warning(
                "Closed %d stalled connections: each client read less than %d KiB of its response in %g s",
                stalled,
                _MIN_PROGRESS_BYTES // 1024,
                self._stalled_seconds,
                extra={"event": "connections_closed", "reason": "slow_reader", "connections": stalled},
            )

    def _abort_if_stalled(self, state: _ConnectionState, now: float) -> bool:
        """Abort the connection if its client has read too little for too long; return True if so.

        A client that reads one byte now and then would otherwise keep a large response in memory for ever.
        """
        unsent = unsent_bytes(state.transport)
        if not unsent or unsent > state.unsent_bytes or state.unsent_bytes - unsent >= _MIN_PROGRESS_BYTES:
            state.unsent_bytes, state.last_progress = unsent, now
        elif now - state.last_progress >= self._stalled_seconds:
            state.transport.abort()
            self._counters.increment(CONNECTIONS_CLOSED, "slow_reader")
            return True
        return False

    def _shed_slow_clients(self) -> None:
        """Abort the slowest connections while all unsent responses exceed the limit; keep one at least."""
        unsent = [
            state
            for state in self._states.values()
            if state.unsent_bytes and not state.transport.is_closing()
        ]
        sizes = [buffered_bytes(state.transport) for state in unsent]
        excess, closed = sum(sizes) - self._max_unsent_bytes, 0
        slowest_first = sorted(
            zip(unsent, sizes, strict=True), key=lambda pair: (pair[0].last_progress, -pair[1])
        )
        for state, size in slowest_first[:-1]:
            if excess <= 0:
                break
            state.transport.abort()
            self._counters.increment(CONNECTIONS_CLOSED, "send_buffer")
            excess -= size
            closed += 1
        if closed:
            logger.warning(
                "Closed %d slow connections: %d bytes of unsent responses exceed the limit",
                closed,
                sum(sizes),
                extra={"event": "connections_closed", "reason": "send_buffer", "connections": closed},
            )

    def _shed_blocking_clients(self) -> None:
        """Abort the connections whose clients hardly read large answers while others wait for memory."""
        now = self._clock()
        stalled = [
            state
            for connection in self._blocking()
            if (state := self._states.get(connection)) is not None
            and not state.transport.is_closing()
            and now - state.last_progress >= _ANSWER_STALLED_SECONDS
        ]
        for state in stalled:
            state.transport.abort()
            self._counters.increment(CONNECTIONS_CLOSED, "send_buffer")
        if stalled:
            logger.warning(
                "Closed %d slow connections: their answers take the memory that others wait for",
                len(stalled),
                extra={"event": "connections_closed", "reason": "send_buffer", "connections": len(stalled)},
            )

    def _close_idle_excess(self, count: int) -> None:
        """Close the longest idle connections if there are too many; log the start and the end of that."""
        used_up, most = descriptors.fds_exhausted(), self.max_connections()
        excess = max(count - most, _CLOSE_BATCH_SIZE if used_up else 0)
        if excess > 0:
            if not self._over_limit:
                cause = "no file descriptor is free" if used_up else f"file descriptors allow {most}"
                logger.warning(
                    "%d connections are open and %s; closing the longest idle ones",
                    count,
                    cause,
                    extra={"event": "connection_limit_reached", "connections": count, "limit": most},
                )
            self._over_limit = True
            self._close_idle(excess)
        elif self._over_limit and count <= most * 7 // 8:
            logger.warning(
                "Connections are below the limit again; closed %d idle ones",
                self._closed_idle_count,
                extra={"event": "connection_limit_left", "closed": self._closed_idle_count},
            )
            self._over_limit, self._closed_idle_count = False, 0

    def _close_idle(self, excess: int) -> None:
        """Close `excess` idle connections: first those that never had a request, then the longest idle."""
        idle = [
            (state.had_request, state.last_request, connection)
            for connection, state in self._states.items()
            if not state.unsent_bytes
            and not state.transport.is_closing()
            and not self._in_flight.contains(connection)
            and connection not in self._recently_active
        ]
        idle.sort(key=lambda entry: entry[:2])
        for *_, connection in idle[:excess]:
            connection.force_close()
            self._counters.increment(CONNECTIONS_CLOSED, "limit")
            self._closed_idle_count += 1


def _new_state(connection: web.RequestHandler, now: float) -> _ConnectionState | None:
    """Return the state of a new connection, or None if it is closed already."""
    transport = connection.transport
    return None if transport is None else _ConnectionState(transport, now, now)
