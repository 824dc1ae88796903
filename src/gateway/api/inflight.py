"""The requests in flight, and whether the gateway is shutting down."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable


class InFlightRequests:
    """A registry of the requests in flight, by connection; a shutdown waits until it is empty."""

    def __init__(self) -> None:
        self.draining = False
        self.aborted = False
        self._connections: set[Hashable] = set()

    @property
    def count(self) -> int:
        """The number of requests in flight."""
        return len(self._connections)

    def contains(self, connection: Hashable) -> bool:
        """Return whether this connection has a request in flight."""
        return connection in self._connections

    def add(self, connection: Hashable) -> None:
        """Record the request of a connection; a connection has one request at a time."""
        self._connections.add(connection)

    def remove(self, connection: Hashable) -> None:
        """Record that the response to the connection's request is ready."""
        self._connections.discard(connection)

    def start_draining(self) -> None:
        """Make the gateway report that it is not ready, and close each connection after its next response."""
        self.draining = True

    def abort(self) -> None:
        """Record that the shutdown, not a disconnect, cancels the requests that are still in flight."""
        self.aborted = True
