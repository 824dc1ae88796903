"""What a node process publishes for the gateway processes of its machine: metrics, events, and its state."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Final

from gateway.concurrency.background import supervised_task
from gateway.telemetry.events import EventLog
from gateway.telemetry.metrics import definitions
from gateway.telemetry.metrics.collector import MetricsCollector
from gateway.telemetry.metrics.gauges import EngineGauges, build_versions
from gateway.telemetry.metrics.requests import RequestCounters
from gateway.telemetry.process_snapshot import ProcessSnapshot
from gateway.telemetry.process_state import figures, versions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.node.app import Node
    from gateway.telemetry.metrics.collector import SnapshotSlot
    from gateway.telemetry.metrics.gauges import GaugeSample

_PUBLISH_SECONDS: Final = 1.0


class NodeTelemetry:
    """A publisher of one node's figures in its slot of the shared snapshots."""

    def __init__(self, node: Node, slot: SnapshotSlot) -> None:
        self._node = node
        self._slot = slot
        self._started = monotonic()
        self._events = EventLog(slot)
        self._metrics = MetricsCollector(
            node.counters, RequestCounters(), collect_gauges=self._collect_gauges, slot=slot
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Publish while the context lasts."""
        async with AsyncExitStack() as stack:
            stack.enter_context(self._events.listening())
            for name, work in (
                ("metrics", self._metrics.run),
                ("events", self._events.run),
                ("process state", self._publish_state),
            ):
                await stack.enter_async_context(
                    supervised_task(work, name=name, counters=self._node.counters)
                )
            yield

    async def _publish_state(self) -> None:
        while True:
            content = self._state().encode()
            await asyncio.to_thread(self._slot.states.write, self._slot.number, content)
            await asyncio.sleep(_PUBLISH_SECONDS)

    def _state(self) -> ProcessSnapshot:
        node = self._node
        found = figures(
            self._slot,
            engine=node.engine,
            counts=node.counters.counts,
            started=self._started,
            lag_seconds=node.event_loop_lag.max_seconds,
            in_flight=sum(status.waiting + status.running for status in node.engine.statuses().values()),
            mlflow_away_since=None,
        )
        return ProcessSnapshot(self._slot.number, found, tuple(versions(node.engine)))

    def _collect_gauges(self) -> Iterator[GaugeSample]:
        yield definitions.BUILD_INFO, build_versions(), 1.0
        yield definitions.EVENT_LOOP_LAG, (), self._node.event_loop_lag.max_seconds
        yield definitions.ASYNCIO_TASKS, (), len(asyncio.all_tasks())
        yield definitions.WORKER_WALL, self._node.wall.labels, self._node.wall.complete
        yield from EngineGauges(self._node.engine).collect()
