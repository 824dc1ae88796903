"""What the gauges are read from."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gateway.telemetry.metrics import definitions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.catalog import Catalog
    from gateway.serving.pinned import Pins
    from gateway.telemetry.metrics.definitions import Family
    from gateway.telemetry.metrics.event_loop_lag import Lag
    from workers.pool.pool import Pool

Level = tuple["Family", tuple[str, ...], float]


class Draining(Protocol):
    """The requests in flight, and whether they are the last."""

    started: bool

    @property
    def in_flight(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Rooms:
    """The parts of the gateway that know how it is; `ready` decides as /health/ready does."""

    catalog: Catalog
    pins: Pins
    pool: Pool
    drain: Draining
    lag: Lag
    ready: Callable[[], bool]

    def levels(self) -> Iterator[Level]:
        """Every gauge of `families.GAUGES` but the snapshot's age."""
        yield definitions.READY, (), self.ready()
        yield definitions.DRAINING, (), self.drain.started
        yield definitions.AWAY, (), self.catalog.away is not None
        yield definitions.PROBLEMS, (), len(self.pins.problems)
        yield definitions.IN_FLIGHT, (), self.drain.in_flight
        yield definitions.LAG, (), self.lag.worst
        yield definitions.TASKS, (), len(asyncio.all_tasks())
        yield from self._of_models()
        yield from self._of_memory()

    def _of_models(self) -> Iterator[Level]:
        """One fingerprint of a version may follow upon another: both count as the version."""
        states = self.pool.statuses()
        kinds = Counter(state.state for state in states.values())
        yield definitions.LOADED, (), kinds["warm"]
        yield definitions.LOADING, (), kinds["loading"]
        sums: Counter[tuple[Family, tuple[str, ...]]] = Counter()
        for key, size in self.pool.memory_report().model_bytes.items():
            sums[definitions.MEMORY, (key.name, key.version)] += size
        for key, state in states.items():
            if state.state == "warm":
                labels = (key.name, key.version)
                sums[definitions.WORKERS, labels] += state.workers
                sums[definitions.WAITING, labels] += state.waiting
                sums[definitions.RUNNING, labels] += state.running
        for (family, version), number in sums.items():
            yield family, version, number

    def _of_memory(self) -> Iterator[Level]:
        """As it was last measured; measuring takes long, and is the pool's own affair."""
        memory = self.pool.memory_report()
        if memory.budget_bytes is not None:
            yield definitions.BUDGET, (), memory.budget_bytes
            yield definitions.OWN_MEMORY, (), memory.base_bytes
