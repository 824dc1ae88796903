"""What a process publishes of itself and of its models, for the pages that show all processes."""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING, Final

from gateway.artifacts.cache import DOWNLOADED_BYTES, DOWNLOADS
from gateway.artifacts.storage import EVICTIONS
from gateway.catalog.catalog import STALE_HITS
from gateway.telemetry import process_snapshot
from gateway.telemetry.process_snapshot import VersionState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from gateway.engines.engine import Engine
    from gateway.telemetry.metrics.collector import SnapshotSlot
    from workers.metrics import CounterSpec

_MAX_FAILURES: Final = 200
_MAX_REASON: Final = 300
_MAX_NODES_OF_ONE: Final = 20


def figures(
    slot: SnapshotSlot,
    *,
    engine: Engine,
    counts: Mapping[tuple[CounterSpec, tuple[str, ...]], int],
    started: float,
    lag_seconds: float,
    in_flight: int,
    mlflow_away_since: datetime | None,
) -> dict[str, float]:
    """Return the figures of this process, which started at `started` of the monotonic clock.

    The memory of models is among them in the process that holds them.
    """
    memory = engine.memory_report() if slot.holds_models else None
    values = (
        os.getpid(),
        monotonic() - started,
        lag_seconds,
        in_flight,
        mlflow_away_since.timestamp() if mlflow_away_since else 0,
        (memory.budget_bytes or 0) if memory else 0,
        memory.base_bytes if memory else 0,
        *_sums(counts, DOWNLOADS, DOWNLOADED_BYTES, EVICTIONS, STALE_HITS),
    )
    return dict(zip(process_snapshot.FIGURES, values, strict=True))


def versions(engine: Engine) -> Iterator[VersionState]:
    """Yield the state of each version that the engine has loaded, is loading, or failed to load of late."""
    memory, pinned = engine.memory_report().model_bytes, engine.pinned
    statuses = engine.statuses()
    for key, status in statuses.items():
        yield VersionState(
            key.name,
            key.version,
            status.state,
            workers=status.workers,
            waiting=status.waiting,
            running=status.running,
            memory_bytes=memory.get(key, 0),
            pinned=key in pinned,
            nodes=status.nodes[:_MAX_NODES_OF_ONE],
        )
    for key, reason in list(engine.failures().items())[:_MAX_FAILURES]:
        if key not in statuses:
            yield VersionState(key.name, key.version, "failed", reason=reason[:_MAX_REASON])


def _sums(counts: Mapping[tuple[CounterSpec, tuple[str, ...]], int], *specs: CounterSpec) -> list[int]:
    """Return the sum of each counter over its labels."""
    sums = dict.fromkeys(specs, 0)
    for (counted, _), count in counts.items():
        if counted in sums:
            sums[counted] += count
    return list(sums.values())
