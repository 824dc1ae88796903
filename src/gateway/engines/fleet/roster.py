"""The nodes of a fleet: one for each member, with the task that keeps its link."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final

from gateway.engines.fleet.node import FleetNode
from gateway.engines.placement import Candidate, PlacementCache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.engines.fleet.node import NodeContext
    from gateway.engines.members import Member
    from workers.protocol.messages import ModelKey

_LEAVING_SECONDS: Final = 30.0
"""How long a node that left may serve what is warm there, while other nodes load it."""


class Roster:
    """A set of nodes that follows the members of the fleet, and the order of the connected ones by model."""

    def __init__(self) -> None:
        self._nodes: dict[Member, FleetNode] = {}
        self._tasks: dict[FleetNode, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._placement: PlacementCache | None = None
        self._by_place: dict[str, FleetNode] = {}
        self._changed = asyncio.Event()

    @property
    def nodes(self) -> Sequence[FleetNode]:
        """All nodes, connected or not."""
        return list(self._nodes.values())

    @property
    def connected(self) -> Sequence[FleetNode]:
        """The nodes that are connected."""
        return [node for node in self._nodes.values() if node.connected]

    def set_members(self, members: frozenset[Member], context: NodeContext) -> None:
        """Start to link to new members, and begin to leave those that are none any more."""
        for member in sorted(members - self._nodes.keys(), key=lambda member: member.name):
            node = self._nodes[member] = FleetNode(member, context)
            self._tasks[node] = asyncio.create_task(node.run(), name=f"link to node {member.name}")
        now = asyncio.get_running_loop().time()
        for member, node in self._nodes.items():
            if member in members:
                node.leaving_since = None
            elif node.leaving_since is None:
                node.leaving_since = now
        self.remove_left(now)

    def remove_left(self, now: float) -> None:
        """Remove the nodes that are no members, once they are lost, or idle after a while."""
        for member, node in list(self._nodes.items()):
            if node.leaving_since is None:
                continue
            if not node.connected or (now - node.leaving_since > _LEAVING_SECONDS and not node.in_flight):
                del self._nodes[member]
                self._end(self._tasks.pop(node))

    def order(self, key: ModelKey) -> Sequence[FleetNode]:
        """Return the connected nodes, the best for a model first."""
        if self._placement is None:
            self._placement = self._place(self.connected)
        return [self._by_place[candidate.name] for candidate in self._placement.order(key)]

    def on_connected(self) -> None:
        """Give a node that is connected now a place in the order of each model."""
        self._placement = None
        self.notify()

    def on_disconnected(self) -> None:
        """Take a node that was lost out of the orders."""
        self._placement = None

    def notify(self) -> None:
        """Have all that wait for a change look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_for_change(self) -> None:
        """Wait until a node becomes connected, or able to take loads again."""
        await self._changed.wait()

    async def close(self) -> None:
        """End all links."""
        for task in self._tasks.values():
            self._end(task)
        self._tasks.clear()
        if self._ending:
            await asyncio.wait(self._ending)
        self._nodes.clear()

    def _place(self, nodes: Sequence[FleetNode]) -> PlacementCache:
        """Place nodes by the names that they told, so that one with another address keeps its models.

        Nodes that told the same name are placed by their addresses, as names with a sign that none can tell.
        """
        told = Counter(node.told_name for node in nodes)
        self._by_place = {
            name if told[name] == 1 and not name.startswith("@") else f"@{node.name}": node
            for node in nodes
            for name in (node.told_name,)
        }
        return PlacementCache(
            Candidate(place, node.candidate.weight) for place, node in self._by_place.items()
        )

    def _end(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
