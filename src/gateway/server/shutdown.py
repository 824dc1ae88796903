"""Stop the HTTP server of a gateway process in order.

A client whose connection is established in the moment that the listener closes may be reset before it sends
its request. Two things prevent that. A load balancer that reads the readiness probe sends clients elsewhere
before (`GATEWAY_GRACE_SECONDS` gives it time). With several gateway processes on a port, Linux hands such a
connection to another one if `net.ipv4.tcp_migrate_req` is 1.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gateway.server import listeners

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from aiohttp import web

    from gateway.api.inflight import InFlightRequests

logger = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.02
_ACCEPT_SECONDS: Final = 1.0  # the longest wait for established connections to be accepted
_FIRST_REQUEST_SECONDS: Final = 0.5  # the longest wait for the first requests on those connections
_READ_SECONDS: Final = 0.02  # the wait for requests whose bytes were read last to begin


class GracefulShutdown:
    """A shutdown of the HTTP server that answers what was begun; once `force` is set it waits no longer."""

    def __init__(
        self,
        runner: web.AppRunner,
        sockets: Sequence[socket.socket],
        *,
        in_flight: InFlightRequests,
        force: asyncio.Event,
    ) -> None:
        """`sockets` are those that the runner's sites listen on."""
        self._runner = runner
        self._sockets = sockets
        self._in_flight = in_flight
        self._force = force
        self._settled: set[web.RequestHandler] = set()  # nothing is to be done about them
        self._late: set[web.RequestHandler] = set()

    async def run(self, *, grace: float, seconds: float) -> None:
        """Wait for the requests in flight for at most `seconds`, and close all other connections.

        During the first `grace` seconds the gateway still accepts connections, but it reports that it is not
        ready, and each response closes its connection: load balancers then send clients elsewhere.
        """
        ends = asyncio.get_running_loop().time() + seconds
        self._in_flight.start_draining()
        if grace:
            logger.info(
                "Shutting down: not ready from now on, the listener closes in %g s",
                grace,
                extra={"event": "shutdown_started", "grace_seconds": grace},
            )
            await self._poll_until(_never, seconds=grace)
        count = self._in_flight.count
        logger.info(
            "Shutting down: no new connections, %d requests in flight",
            count,
            extra={"event": "shutdown_draining", "in_flight": count},
        )
        await self._close_listeners()
        if grace:
            await self._poll_until(lambda: not self._idle_connections(), seconds=_FIRST_REQUEST_SECONDS)
        await self._close_idle_connections()
        await self._poll_until(self._close_late_connections, seconds=ends - asyncio.get_running_loop().time())
        if count := self._in_flight.count:
            logger.warning(
                "Drain timeout: aborting %d requests in flight",
                count,
                extra={"event": "shutdown_aborted", "in_flight": count},
            )
            self._in_flight.abort()

    async def _close_listeners(self) -> None:
        """Close the listeners once every established connection is accepted: closing resets the others."""
        await self._poll_until(
            lambda: not listeners.has_pending_connections(self._sockets), seconds=_ACCEPT_SECONDS
        )
        listeners.stop_listening(self._sockets)  # a supervisor has them open too
        for site in list(self._runner.sites):
            await site.stop()

    async def _close_idle_connections(self) -> None:
        """Stop reading requests, and close the connections that have none in flight."""
        if self._runner.server is not None:
            self._runner.server.pre_shutdown()
            await asyncio.sleep(_READ_SECONDS)
            self._settled.update(self._runner.server.connections)
            for connection in self._idle_connections():
                connection.force_close()

    def _close_late_connections(self) -> bool:
        """Close what was accepted before and sends no request; return whether all is drained.

        A connection appears late if its TLS handshake was under way when the listener closed.
        """
        server = self._runner.server
        for connection in () if server is None else server.connections:
            if connection in self._settled:
                continue
            if not self._in_flight.contains(connection):
                if connection not in self._late:  # its request may be on its way
                    self._late.add(connection)
                    continue
                connection.force_close()
            self._settled.add(connection)
        return self._is_drained()

    def _idle_connections(self) -> list[web.RequestHandler]:
        server = self._runner.server
        return [] if server is None else [c for c in server.connections if not self._in_flight.contains(c)]

    def _is_drained(self) -> bool:
        """Return whether every response was produced, and read by its client."""
        return not self._in_flight.count and not (self._runner.server and self._runner.server.connections)

    async def _poll_until(self, done: Callable[[], bool], *, seconds: float) -> None:
        """Poll `done` for at most `seconds`: no event tells when a connection ends."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not done() and not self._force.is_set():
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_POLL_SECONDS):
                            await self._force.wait()


def _never() -> bool:
    return False
