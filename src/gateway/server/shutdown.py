"""How the HTTP server ends: it says so, takes no more connections, and answers what was begun."""

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
_HANDSHAKE_SECONDS: Final = 0.1  # for connections that clients have half made
_ACCEPT_SECONDS: Final = 1.0  # for those that they have made to be taken
_FIRST_REQUEST_SECONDS: Final = 0.5  # for the first requests on these
_READ_SECONDS: Final = 0.02  # for what was read last to begin


class GracefulShutdown:
    """Ends a server in order. Whoever sets `now` has it wait for nothing any more."""

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

    async def run(self, *, grace: float, seconds: float) -> None:
        """Answer what has been asked, for at most `seconds`, and close every other connection.

        For the first `grace` of them new connections are taken as ever, but each answer is its
        connection's last, and the gateway is not ready: time for load balancers to send clients elsewhere.
        """
        ends = asyncio.get_running_loop().time() + seconds
        self._in_flight.start_draining()
        if grace:
            logger.info("shutting down: not ready from now on, the listener closes in %g s", grace)
            await self._poll_until(_never, seconds=grace)
        logger.info("shutting down: no new connections, %d requests in flight", self._in_flight.count)
        await self._close_listeners()
        if grace:
            await self._poll_until(lambda: not self._idle_connections(), seconds=_FIRST_REQUEST_SECONDS)
        await self._close_idle_connections()
        await self._poll_until(self._is_drained, seconds=ends - asyncio.get_running_loop().time())
        if self._in_flight.count:
            logger.warning("%d requests in flight are given up", self._in_flight.count)
            self._in_flight.abort()

    async def _close_listeners(self) -> None:
        """No client may be reset whose connection was made: all that wait are taken before the end."""
        hushed = [listeners.hush(each) for each in self._sockets]
        if all(hushed):
            await self._poll_until(_never, seconds=_HANDSHAKE_SECONDS)
            await self._poll_until(
                lambda: not listeners.has_pending_connections(self._sockets), seconds=_ACCEPT_SECONDS
            )
        listeners.stop_listening(self._sockets)  # a supervisor has them too: nobody may knock there meanwhile
        for site in list(self._runner.sites):
            await site.stop()

    async def _close_idle_connections(self) -> None:
        """Read no more requests, and close the connections that have none."""
        if self._runner.server is not None:
            self._runner.server.pre_shutdown()
            await asyncio.sleep(_READ_SECONDS)
            for connection in self._idle_connections():
                connection.force_close()

    def _idle_connections(self) -> list[web.RequestHandler]:
        server = self._runner.server
        return [] if server is None else [c for c in server.connections if not self._in_flight.contains(c)]

    def _is_drained(self) -> bool:
        """Whether every answer was made, and taken by its client."""
        return not self._in_flight.count and not (self._runner.server and self._runner.server.connections)

    async def _poll_until(self, done: Callable[[], bool], *, seconds: float) -> None:
        """Look again and again, since nothing tells of connections that end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not done() and not self._force.is_set():
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_POLL_SECONDS):
                            await self._force.wait()


def _never() -> bool:
    return False
