"""Reports how a gateway sees one node of its fleet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime

NodeState = Literal["connected", "connecting", "lost", "refused"]


@dataclass(frozen=True, slots=True)
class NodeReport:
    """A node of the fleet, as one gateway process sees it now.

    `connecting`: no link was open yet. `lost`: the link that was open ended, and is tried again. `refused`:
    the node and the gateway do not accept each other, because of the token, the protocol or TLS.
    """

    name: str
    address: str
    state: NodeState
    since: datetime
    """When the state began, in UTC."""
    reason: str = ""
    """Why it is lost or refused, or why the last attempt to connect failed; a sentence, or empty."""
    draining: bool = False
    """Whether the node is shutting down: it answers what it has, and takes no load."""
    product_version: str = ""
    warm_models: int = 0
    """The number of versions that are warm there; 0 unless connected."""
    in_flight: int = 0
    """The number of this gateway process' jobs that the node has not answered yet."""
    memory_used_bytes: int | None = None
    memory_budget_bytes: int | None = None
    round_trip_seconds: float | None = None
    """The last measured round trip of the link; None before one was measured."""

    @property
    def is_alive(self) -> bool:
        """Whether requests can be sent to it."""
        return self.state == "connected"
