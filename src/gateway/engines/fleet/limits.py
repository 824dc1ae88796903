"""The limits of a fleet, as a gateway applies them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FleetLimits:
    """How many nodes serve a model, and how long a gateway waits for what.

    Each model is on `replicas` nodes at least, and on more under load, at most `replicas_max` (0: all). A
    node that sends nothing for `lost_seconds` is lost. `retry`: the requests of a lost node run once more
    on another one. A request that its node has not answered after `request_seconds` fails, which its node
    should have said before. A load waits for `patience_seconds` for a node if none is connected.
    """

    replicas: int = 1
    replicas_max: int = 0
    lost_seconds: float = 3.0
    retry: bool = True
    request_seconds: float = 60.0
    patience_seconds: float = 5.0

    def replicas_for(self, wanted: int) -> int:
        """Return on how many nodes a model should be, of which its nodes want `wanted`."""
        count = max(wanted, self.replicas, 1)
        return min(count, self.replicas_max) if self.replicas_max else count
