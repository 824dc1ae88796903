"""Tells the nodes which models they must not evict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.engines.wire.control import Pins as PinsMessage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.engines.fleet.node import FleetNode
    from gateway.engines.fleet.routes import Routes
    from workers.protocol.messages import ModelKey


class Pins:
    """A set of pinned models, each pinned where its requests go; before it is warm, on all nodes.

    So a model that moved to another node may be evicted from the one that it left.
    """

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._told: dict[FleetNode, frozenset[ModelKey]] = {}
        self.keys: set[ModelKey] = set()

    def add(self, key: ModelKey) -> None:
        """Pin a model; `tell` tells it."""
        self.keys.add(key)

    def discard(self, key: ModelKey) -> None:
        """Unpin a model; `tell` tells it."""
        self.keys.discard(key)

    def tell(self, nodes: Iterable[FleetNode]) -> None:
        """Tell each node its pins, if they are not those of the last message."""
        if not self.keys and not any(self._told.values()):
            return
        for node in nodes:
            pins = frozenset(key for key in self.keys if node in (self._routes.serving(key) or (node,)))
            if self._told.get(node, frozenset()) != pins:
                self._told[node] = pins
                node.link.send(PinsMessage(tuple(pins)))

    def forget(self, node: FleetNode) -> None:
        """Take note that a node was lost, and its pins with it."""
        self._told.pop(node, None)
