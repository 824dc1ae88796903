"""What a node tells its gateways of itself: soon after each change, and every second."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Final

from gateway.engines.wire.control import State
from gateway.engines.wire.messages import encode_control
from gateway.engines.wire.state import MAX_ENTRIES, NodeEnvironment, NodeModel, NodeState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.engines.local import LocalEngine
    from gateway.node.utilisation import Utilisation
    from workers.pool.status import MemoryReport
    from workers.protocol.messages import ModelKey

_INTERVAL_SECONDS: Final = 1.0
_CHANGE_SECONDS: Final = 0.02  # so that changes that come together are one message
_BYTES_PER_SECOND: Final = 2 * 2**20  # of long states: each gateway reads them on its event loop
_MAX_ENVIRONMENTS: Final = 1000
_TOLD_ENVIRONMENTS: Final = frozenset({"building", "ready", "failed"})


class StateFeed:
    """A feed of the node's state to all subscribers, as an encoded message."""

    def __init__(self, engine: LocalEngine, utilisation: Utilisation) -> None:
        self._engine = engine
        self._utilisation = utilisation
        self._changed = asyncio.Event()
        self._subscribers: set[Callable[[list[bytes]], None]] = set()
        self._draining = False
        engine.watch(self._changed.set)

    @property
    def links(self) -> int:
        """The number of subscribers."""
        return len(self._subscribers)

    @property
    def draining(self) -> bool:
        """Whether the node is about to end."""
        return self._draining

    @draining.setter
    def draining(self, value: bool) -> None:
        self._draining = value
        self._changed.set()

    def subscribe(self, send: Callable[[list[bytes]], None]) -> None:
        """Call `send` with the state now, and with each one to come."""
        self._subscribers.add(send)
        send(self._encoded())

    def unsubscribe(self, send: Callable[[list[bytes]], None]) -> None:
        """Call `send` no more."""
        self._subscribers.discard(send)

    def notify(self) -> None:
        """Tell the state soon, because it has changed."""
        self._changed.set()

    async def run(self) -> None:
        """Tell the state until cancelled."""
        next_sample = 0.0
        while True:
            now = monotonic()
            if now >= next_sample:
                next_sample = now + _INTERVAL_SECONDS
                self._utilisation.record(self._engine.busy_seconds(), now=now)
            size = self._publish()
            if await self._wait_for_change(next_sample - monotonic()):
                await asyncio.sleep(max(_CHANGE_SECONDS, size / _BYTES_PER_SECOND))

    async def _wait_for_change(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _publish(self) -> int:
        """Tell the state to all, and return its bytes."""
        self._changed.clear()
        if not self._subscribers:
            return 0
        message = self._encoded()
        for send in list(self._subscribers):
            send(message)
        return sum(map(len, message))

    def _encoded(self) -> list[bytes]:
        return encode_control(State(self.state()))

    def state(self) -> NodeState:
        """Return the state of the node now."""
        engine = self._engine
        pinned, health = engine.pinned, engine.spawn_health
        return NodeState(
            models={
                key: NodeModel(
                    status,
                    wanted=self._utilisation.wanted(key),
                    pinned=key in pinned,
                    busy=self._utilisation.busy(key),
                )
                for key, status in islice(engine.statuses().items(), MAX_ENTRIES)
            },
            failures=dict(islice(engine.failures().items(), MAX_ENTRIES)),
            memory=_first_of(engine.memory_report()),
            devices=tuple(engine.device_reports()),
            environments=dict(self._environments()),
            running_environments=engine.running_environments,
            environments_bytes=engine.environments_bytes,
            spawn_failures=health.failures,
            spawn_failing_seconds=health.failing_seconds,
            draining=self._draining,
        )

    def _environments(self) -> Iterator[tuple[ModelKey, NodeEnvironment]]:
        """Yield what is known of versions' own environments, of the latest only if there are very many."""
        told = 0
        for key, state in reversed(self._engine.environment_states().items()):
            if state.state in _TOLD_ENVIRONMENTS and told < _MAX_ENVIRONMENTS:
                told += 1
                progress = state.progress.text if state.progress else ""
                yield key, NodeEnvironment(state.state, state.digest, state.python, state.reason, progress)


def _first_of(memory: MemoryReport) -> MemoryReport:
    """Return a report of as many models as a state may have."""
    return replace(memory, model_bytes=dict(islice(memory.model_bytes.items(), MAX_ENTRIES)))
