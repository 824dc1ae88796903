"""What one soak is to be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """How long, drawn from which seed, where its summary goes, and the gateway's times."""

    seconds: float
    seed: int
    out: Path | None = None
    clients: int = 24
    sums: int = 20
    commands: int = 8
    lines: int = 2
    request_seconds: float = 5.0
    idle_seconds: float = 20.0
    ttl_seconds: float = 2.0
    upstream_seconds: float = 4.0
    max_loaded: int = 12
    max_queue: int = 64
    max_body: int = 1_000_000
    memory_budget: int = 6 * 2**30
    fault_pause: tuple[float, float] = (2.0, 6.0)

    @property
    def patience(self) -> float:
        """Seconds that a change in MLflow, or a recovery, may take to be seen by every client."""
        return 30.0 + 2 * self.request_seconds + self.upstream_seconds + self.ttl_seconds


def fleet_options(options: Options) -> Options:
    """The same over a fleet.

    Few models, time enough for a request to run twice, and few lookups: what MLflow does is not the subject.
    """
    return replace(
        options,
        clients=8,
        sums=4,
        lines=1,
        commands=12,
        request_seconds=30.0,
        ttl_seconds=20.0,
        idle_seconds=15.0,
        max_loaded=40,
    )
