"""Loads a version on the best node for it, or on the next one that has room."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from gateway.engines.fleet.metrics import NODE_SPILLS
from gateway.engines.wire.control import Load, Owners
from gateway.errors import CacheFull, CacheUnusable
from workers.errors import (
    CapacityExceeded,
    ModelLoadError,
    NodeLost,
    NoNodes,
    PoolClosed,
    SystemResourcesExhausted,
    WorkerCrashed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from gateway.engines.engine import Order
    from gateway.engines.fleet.limits import FleetLimits
    from gateway.engines.fleet.node import FleetNode
    from gateway.engines.fleet.roster import Roster
    from gateway.engines.wire.control import GatewayControl
    from workers.metrics import Counters

logger = logging.getLogger(__name__)

_MAX_LOST: Final = 2  # nodes, of one load: its model may be what ends them
_NO_ROOM: Final = (CapacityExceeded, SystemResourcesExhausted, CacheFull, CacheUnusable)


class FleetLoader:
    """A loader that asks the nodes one after the other, in the order of the version."""

    def __init__(self, roster: Roster, *, limits: Callable[[], FleetLimits], counters: Counters) -> None:
        self._roster = roster
        self._limits = limits
        self._counters = counters
        self._running: dict[int, RunningLoad] = {}

    async def load(self, order: Order) -> float:
        """Load a version on one node; return the seconds of its download.

        Raise NoNodes if no node is connected in time, WorkerCrashed if the load ends two nodes, or what
        the last node raised.
        """
        asked: set[FleetNode] = set()
        lost = 0
        no_room: Exception | None = None
        while True:
            node = self._next_node(order, asked)
            if node is None and no_room is not None:
                raise no_room
            if node is None:
                await self._wait_for_node()
                asked.clear()
                continue
            asked.add(node)
            try:
                return await self.load_on(node, order)
            except _NO_ROOM as error:
                no_room = error
            except PoolClosed:
                node.mark_closing()
            except NodeLost:
                lost += 1
                if lost == _MAX_LOST:
                    raise WorkerCrashed("The nodes that were loading the model were lost.") from None

    async def load_on(self, node: FleetNode, order: Order) -> float:
        """Load a version on this node, which skips it for a while if it has no room.

        Return the seconds of its download. Raise NodeLost, or what the node raised.
        """
        key = order.version.key
        load = RunningLoad(node, order)
        self._running[id(load)] = load
        try:
            seconds = await node.link.call(load.start)
        except _NO_ROOM:
            node.room.mark_full(key)
            self._counters.increment(NODE_SPILLS, node.name)
            extra = {"event": "node_full", "node": node.name, "model": str(key)}
            logger.warning("Node %s has no room for %s", node.name, key, extra=extra)
            raise
        except ModelLoadError as error:
            extra = {"event": "node_load_failed", "node": node.name, "model": str(key), "reason": str(error)}
            logger.warning("Node %s could not load %s: %s", node.name, key, error, extra=extra)
            raise
        finally:
            del self._running[id(load)]
        node.mark_warm(key)
        extra = {"event": "node_loaded", "node": node.name, "model": str(key)}
        logger.info("Node %s has loaded %s", node.name, key, extra=extra)
        return seconds

    def notify_owners_changed(self) -> None:
        """Tell the nodes of the loads that have more owners now."""
        for load in self._running.values():
            load.update_owners()

    def _next_node(self, order: Order, asked: Collection[FleetNode]) -> FleetNode | None:
        """Return the best node that was not asked; one that had no room lately only if no other is left."""
        key = order.version.key
        nodes = [node for node in self._roster.order(key) if node not in asked and not node.draining]
        with_room = [node for node in nodes if not node.room.is_full_for(key)]
        return next(iter(with_room if asked else with_room or nodes), None)

    async def _wait_for_node(self) -> None:
        """Wait until a node can be given a load. Raise NoNodes if none can in time."""
        limits = self._limits()
        try:
            async with asyncio.timeout(limits.patience_seconds):
                while not any(not node.draining for node in self._roster.connected):
                    await self._roster.wait_for_change()
        except TimeoutError:
            raise NoNodes("No node is connected that could run the model.") from None


class RunningLoad:
    """A load that a node runs, and the number of owners that it knows."""

    def __init__(self, node: FleetNode, order: Order) -> None:
        self._node = node
        self._order = order
        self._id = 0
        self._owners: Sequence[str | None] = ()

    def start(self, call_id: int) -> GatewayControl:
        """Return the message that starts it."""
        self._id, self._owners = call_id, tuple(self._order.owners)
        return Load(call_id, self._order.version, tuple(self._owners))

    def update_owners(self) -> None:
        """Tell the node if there are more owners."""
        if self._id and len(self._order.owners) != len(self._owners) and self._node.connected:
            self._owners = tuple(self._order.owners)
            self._node.link.send(Owners(self._id, self._owners))
