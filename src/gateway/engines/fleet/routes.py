"""Which nodes get the requests for a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gateway.engines import placement
from workers.errors import ModelNotLoaded

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from gateway.engines.fleet.node import FleetNode
    from workers.protocol.messages import ModelKey


class Route(Mapping[str, int]):
    """The nodes that get a model's requests, the first of its order first; `used`: it got one lately.

    As a mapping, it has the jobs in flight of each node by its name.
    """

    def __init__(self) -> None:
        self.nodes: Sequence[FleetNode] = ()
        self.used = False
        self._by_name: dict[str, FleetNode] = {}
        self._candidates: tuple[placement.Candidate, ...] = ()

    def __getitem__(self, name: str) -> int:
        return self._by_name[name].in_flight

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def set_nodes(self, nodes: Sequence[FleetNode]) -> None:
        """Send the model's requests to these nodes from now on."""
        self.nodes = nodes
        self._by_name = {node.name: node for node in nodes}
        self._candidates = tuple(node.candidate for node in nodes)

    def choose(self) -> FleetNode:
        """Return the node for one request."""
        self.used = True
        if len(self.nodes) == 1:
            return self.nodes[0]
        return self._by_name[placement.choose(self._candidates, self).name]


class Routes:
    """A table of the models that are warm on any connected node."""

    def __init__(
        self, order: Callable[[ModelKey], Sequence[FleetNode]], *, replicas_for: Callable[[int], int]
    ) -> None:
        """`order` returns all connected nodes, the best for a model first.

        `replicas_for` returns on how many nodes a model should be, of which its nodes want this number.
        """
        self._order = order
        self._replicas_for = replicas_for
        self._holders: dict[ModelKey, set[FleetNode]] = {}
        self._routes: dict[ModelKey, Route] = {}

    def __contains__(self, key: ModelKey) -> bool:
        return key in self._routes

    def __iter__(self) -> Iterator[ModelKey]:
        return iter(self._routes)

    def choose(self, key: ModelKey) -> FleetNode:
        """Return the node for one request. Raise ModelNotLoaded if the model is warm nowhere."""
        route = self._routes.get(key)
        if route is None:
            raise ModelNotLoaded(f"{key} is not loaded.")
        return route.choose()

    def holders(self, key: ModelKey) -> Collection[FleetNode]:
        """Return the nodes where a model is warm."""
        return self._holders.get(key, ())

    def serving(self, key: ModelKey) -> Sequence[FleetNode]:
        """Return the nodes that get the model's requests."""
        route = self._routes.get(key)
        return () if route is None else route.nodes

    def replicas(self, key: ModelKey) -> int:
        """Return on how many nodes a model should be."""
        return self._replicas_for(max((node.wanted(key) for node in self.holders(key)), default=1))

    def update(self, node: FleetNode, keys: Iterable[ModelKey]) -> None:
        """Take note of which of these models are warm on a node, or wanted on more nodes."""
        for key in keys:
            holders = self._holders.setdefault(key, set())
            if node.connected and key in node.warm:
                holders.add(node)
            else:
                holders.discard(node)
            self._set(key, holders)

    def take_used(self) -> list[ModelKey]:
        """Return the models that got requests since the last call."""
        used = [key for key, route in self._routes.items() if route.used]
        for key in used:
            self._routes[key].used = False
        return used

    def _set(self, key: ModelKey, holders: set[FleetNode]) -> None:
        if not holders:
            self._holders.pop(key, None)
            self._routes.pop(key, None)
            return
        route = self._routes.get(key)
        if route is None:
            route = self._routes[key] = Route()
        if len(holders) == 1:
            route.set_nodes(tuple(holders))
            return
        warm = [node for node in self._order(key) if node in holders]
        staying = [node for node in warm if not node.draining]
        route.set_nodes((staying or warm)[: self.replicas(key)])
