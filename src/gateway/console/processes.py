"""The state of all processes: each publishes its own every second, and any gateway process can show all."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Final

from gateway.telemetry import process_snapshot
from gateway.telemetry.process_snapshot import ProcessSnapshot, VersionState
from gateway.telemetry.process_state import figures, versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.api.keys import Components
    from gateway.engines.node_report import NodeReport

_SECONDS: Final = 1.0
_STALE_SECONDS: Final = 10.0
_SAME_LOOK_SECONDS: Final = 0.02
_MAX_REASON: Final = 300
_MAX_NODES: Final = 1000
_MAX_NODES_OF_ONE: Final = 20


class Processes:
    """The gateway processes, of which this is one."""

    def __init__(self, components: Components) -> None:
        self._components = components
        self._slot = components.snapshot_slot
        self.node_number = self._slot.node_number
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
        components = self._components
        return ProcessSnapshot(
            self._slot.number,
            figures(
                self._slot,
                engine=components.engine,
                counts=components.counters.counts,
                started=self._started,
                lag_seconds=components.event_loop_lag.max_seconds,
                in_flight=components.in_flight.count,
                mlflow_away_since=components.catalog.unavailable_since,
            ),
            tuple(versions(components.engine)) if self._slot.holds_models else (),
            tuple(self._nodes()) if self._slot.holds_models else (),
        )

    def _with_models(self, peer: ProcessSnapshot) -> ProcessSnapshot:
        """Return the state of a process, with the models that it holds as this one's engine sees them."""
        if peer.process != self._slot.node_number:
            return peer
        return replace(peer, versions=tuple(versions(self._components.engine)))

    def snapshots(self) -> list[ProcessSnapshot]:
        """Return the state of every process, by number; that of others is up to two seconds old.

        What one page shows comes from one look at the engine.
        """
        now = monotonic()
        if now - self._looked >= _SAME_LOOK_SECONDS:
            self._looked = now
            found = (self.own(), *map(self._with_models, self._peers))
            self._snapshots = sorted(found, key=lambda each: each.process)
        return self._snapshots

    def _exchange(self, content: bytes) -> tuple[ProcessSnapshot, ...]:
        """Write this process' snapshot, and read the others that are not too old."""
        shared = self._slot.states
        shared.write(self._slot.number, content)
        stored = (shared.read(number) for number in self._slot.peers)
        return tuple(
            process_snapshot.decode(found[0]) for found in stored if found and found[1] < _STALE_SECONDS
        )

    def _nodes(self) -> Iterator[NodeReport]:
        for node in islice(self._components.engine.nodes(), _MAX_NODES):
            yield replace(node, reason=node.reason[:_MAX_REASON])


def total(snapshots: Iterable[ProcessSnapshot], figure: str) -> float:
    """Return the sum of a figure over all processes; once what each says of the nodes that they share."""
    values = [(each.figures[figure], bool(each.nodes)) for each in snapshots]
    shared = max((value for value, is_shared in values if is_shared), default=0.0)
    return shared + sum(value for value, is_shared in values if not is_shared)


def by_model(snapshots: Iterable[ProcessSnapshot]) -> dict[str, list[VersionState]]:
    """Return the versions of each model over all processes: figures are sums, and the best state counts.

    Of processes that share nodes, the largest figure counts.
    """
    merged: dict[tuple[str, str], VersionState] = {}
    for each in snapshots:
        combine = _larger if each.nodes else _sum
        for version in each.versions:
            key = version.name, version.version
            merged[key] = _merge(merged[key], version, combine) if key in merged else version
    models: dict[str, list[VersionState]] = {}
    for (name, _), version in merged.items():
        models.setdefault(name, []).append(version)
    for found in models.values():
        found.sort(key=lambda version: _order(version.version))
    return models


_RANK: Final = {"warm": 3, "loading": 2, "failed": 1, "cold": 0}


def _sum(one: int, other: int) -> int:
    return one + other


def _larger(one: int, other: int) -> int:
    return max(one, other)


def _merge(one: VersionState, other: VersionState, combine: Callable[[int, int], int]) -> VersionState:
    state = max(one.state, other.state, key=_RANK.__getitem__)
    return VersionState(
        one.name,
        one.version,
        state,
        workers=combine(one.workers, other.workers),
        waiting=combine(one.waiting, other.waiting),
        running=combine(one.running, other.running),
        memory_bytes=combine(one.memory_bytes, other.memory_bytes),
        reason=(one.reason or other.reason) if state == "failed" else "",
        pinned=one.pinned or other.pinned,
        nodes=tuple(sorted({*one.nodes, *other.nodes}))[:_MAX_NODES_OF_ONE],
    )


def _order(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isascii() and version.isdigit() else (2**63, version)
