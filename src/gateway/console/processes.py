"""The state of all gateway processes: each publishes its own every second, and any of them can show all."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final

from gateway.artifacts.cache import DOWNLOADED_BYTES, DOWNLOADS
from gateway.artifacts.storage import EVICTIONS
from gateway.catalog.catalog import STALE_HITS
from gateway.console import process_snapshot
from gateway.console.process_snapshot import ProcessSnapshot, VersionState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.api.keys import Components
    from workers.metrics import CounterSpec

_SECONDS: Final = 1.0
_STALE_SECONDS: Final = 10.0
_SAME_LOOK_SECONDS: Final = 0.02
_MAX_FAILURES: Final = 200
_MAX_REASON: Final = 300


class Processes:
    """The gateway processes, of which this is one."""

    def __init__(self, components: Components) -> None:
        self._components = components
        self._slot = components.snapshot_slot
        self._started = monotonic()
        self._peers: tuple[ProcessSnapshot, ...] = ()
        self._snapshots: list[ProcessSnapshot] = []
        self._looked = -_SAME_LOOK_SECONDS

    async def run(self) -> None:
        """Publish the state of this process and read that of the others; return at once if there are none."""
        while self._slot.peers:
            content = self.own().encode()
            self._peers = await asyncio.to_thread(partial(self._exchange, content))
            await asyncio.sleep(_SECONDS)

    def own(self) -> ProcessSnapshot:
        """Return the state of this process now."""
        return ProcessSnapshot(self._slot.number, self._figures(), tuple(self._versions()))

    def snapshots(self) -> list[ProcessSnapshot]:
        """Return the state of every process, by number; that of others is up to two seconds old.

        What one page shows comes from one look at the pool.
        """
        now = monotonic()
        if now - self._looked >= _SAME_LOOK_SECONDS:
            self._looked = now
            self._snapshots = sorted((self.own(), *self._peers), key=lambda each: each.process)
        return self._snapshots

    def _exchange(self, content: bytes) -> tuple[ProcessSnapshot, ...]:
        """Write this process' snapshot, and read the others that are not too old."""
        shared = self._slot.states
        shared.write(self._slot.number, content)
        stored = (shared.read(number) for number in self._slot.peers)
        return tuple(
            process_snapshot.decode(found[0]) for found in stored if found and found[1] < _STALE_SECONDS
        )

    def _figures(self) -> dict[str, float]:
        components = self._components
        away = components.catalog.unavailable_since
        memory = components.pool.memory_report()
        values = (
            os.getpid(),
            monotonic() - self._started,
            components.event_loop_lag.max_seconds,
            components.in_flight.count,
            away.timestamp() if away else 0,
            memory.budget_bytes or 0,
            memory.base_bytes,
            *self._counts(DOWNLOADS, DOWNLOADED_BYTES, EVICTIONS, STALE_HITS),
        )
        return dict(zip(process_snapshot.FIGURES, values, strict=True))

    def _counts(self, *specs: CounterSpec) -> list[int]:
        """Return the sum of each counter over its labels."""
        sums = dict.fromkeys(specs, 0)
        for (counted, _), count in self._components.counters.counts.items():
            if counted in sums:
                sums[counted] += count
        return list(sums.values())

    def _versions(self) -> Iterator[VersionState]:
        pool = self._components.pool
        memory, pinned = pool.memory_report().model_bytes, pool.pinned
        statuses = pool.statuses()
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
            )
        for key, reason in list(pool.failures().items())[:_MAX_FAILURES]:
            if key not in statuses:
                yield VersionState(key.name, key.version, "failed", reason=reason[:_MAX_REASON])


def by_model(snapshots: Iterable[ProcessSnapshot]) -> dict[str, list[VersionState]]:
    """Return the versions of each model over all processes: figures are sums, and the best state counts."""
    merged: dict[tuple[str, str], VersionState] = {}
    for each in snapshots:
        for version in each.versions:
            key = version.name, version.version
            merged[key] = _merge(merged[key], version) if key in merged else version
    models: dict[str, list[VersionState]] = {}
    for (name, _), version in merged.items():
        models.setdefault(name, []).append(version)
    for versions in models.values():
        versions.sort(key=lambda version: _order(version.version))
    return models


_RANK: Final = {"warm": 3, "loading": 2, "failed": 1, "cold": 0}


def _merge(one: VersionState, other: VersionState) -> VersionState:
    state = max(one.state, other.state, key=_RANK.__getitem__)
    return VersionState(
        one.name,
        one.version,
        state,
        workers=one.workers + other.workers,
        waiting=one.waiting + other.waiting,
        running=one.running + other.running,
        memory_bytes=one.memory_bytes + other.memory_bytes,
        reason=(one.reason or other.reason) if state == "failed" else "",
        pinned=one.pinned or other.pinned,
    )


def _order(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isascii() and version.isdigit() else (2**63, version)
