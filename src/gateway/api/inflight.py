"""The requests that are being answered, and whether new ones are still welcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable


class InFlightRequests:
    """Knows the requests in flight, so that a gateway that is shutting down can wait for the last."""

    def __init__(self) -> None:
        self.draining = False
        self.aborted = False
        self._connections: set[Hashable] = set()

    @property
    def count(self) -> int:
        """How many requests are being answered."""
        return len(self._connections)

    def contains(self, connection: Hashable) -> bool:
        """Whether a request of this connection is being answered."""
        return connection in self._connections

    def add(self, connection: Hashable) -> None:
        """A request has come on a connection, where it is the only one until it leaves."""
        self._connections.add(connection)

    def remove(self, connection: Hashable) -> None:
        """Its answer is made."""
        self._connections.discard(connection)

    def start_draining(self) -> None:
        """From now on the gateway is not ready any more, and each answer is its connection's last."""
        self.draining = True

    def abort(self) -> None:
        """What is in flight now is cancelled for the gateway's sake, not since its client went away."""
        self.aborted = True
