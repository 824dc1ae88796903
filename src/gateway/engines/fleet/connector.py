"""What opens the links of a fleet's engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.engines.fleet.link import Link
    from gateway.engines.members import Member
    from gateway.engines.transports.protocol import Transport


class Connector(Protocol):
    """Opens transports to nodes."""

    async def connect(self, member: Member, receiver: Link) -> Transport:
        """Return a transport to a node that has accepted it. Raise LinkRefused, or another OSError."""
