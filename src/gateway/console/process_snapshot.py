"""What one gateway process knows of itself at one moment, in a form that the other processes can read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

State = Literal["cold", "loading", "warm", "failed"]
FIGURES = (
    "pid",
    "running_seconds",
    "lag_seconds",
    "in_flight",
    "mlflow_away_since",
    "budget_bytes",
    "base_bytes",
    "cache_downloads",
    "cache_downloaded_bytes",
    "cache_evictions",
    "stale_answers",
)
"""The numbers of a process; `mlflow_away_since` is in seconds since 1970, and 0 if MLflow answers."""


@dataclass(frozen=True, slots=True)
class VersionState:
    """How a version is served by one process; `memory_bytes` is 0 if nothing was measured."""

    name: str
    version: str
    state: State
    workers: int = 0
    waiting: int = 0
    running: int = 0
    memory_bytes: int = 0
    reason: str = ""
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class ProcessSnapshot:
    """The state of one gateway process: its figures and its versions."""

    process: int
    figures: Mapping[str, float]
    versions: tuple[VersionState, ...] = ()

    def encode(self) -> bytes:
        """Return the snapshot as bytes."""
        versions = [
            (v.name, v.version, v.state, v.workers, v.waiting, v.running, v.memory_bytes, v.reason, v.pinned)
            for v in self.versions
        ]
        return orjson.dumps((self.process, self.figures, versions))


def decode(content: bytes) -> ProcessSnapshot:
    """Return the snapshot that `ProcessSnapshot.encode` encoded."""
    process, figures, versions = orjson.loads(content)
    return ProcessSnapshot(process, figures, tuple(VersionState(*fields) for fields in versions))
