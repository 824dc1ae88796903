"""Proves by what nodes are placed: the names that they tell, which stay when their addresses change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.gateway.engines.fleet.harness import fleet

if TYPE_CHECKING:
    from tests.gateway.engines.fleet.harness import FleetHarness
    from tests.support.played_nodes import PlayedNode

MODELS: Final = [f"m{number}" for number in range(30)]


def start_again(nodes: FleetHarness, *restarted: PlayedNode) -> None:
    """End nodes, and let gateways link to them again."""
    for node in restarted:
        node.die()
        node.up = True
    nodes.loop.advance(30.0)


def test_a_node_with_another_address_keeps_its_models() -> None:
    """Two nodes that change their addresses keep their places in the orders of all models."""
    with fleet(3) as nodes:
        before = [[node.told_name for node in nodes.order(name)] for name in MODELS]
        first, second, _ = nodes.nodes
        first.told_name, second.told_name = second.told_name, first.told_name
        start_again(nodes, first, second)
        assert [[node.told_name for node in nodes.order(name)] for name in MODELS] == before
        assert len({order[0] for order in before}) == 3


def test_nodes_of_one_name_are_placed_by_their_addresses() -> None:
    """Each has its place, and none is forgotten."""
    with fleet(3) as nodes:
        for node in nodes.nodes:
            node.told_name = "localhost:8090"
        start_again(nodes, *nodes.nodes)
        orders = [[node.name for node in nodes.order(name)] for name in MODELS]
        assert {tuple(sorted(order)) for order in orders} == {("a", "b", "c")}
        assert {order[0] for order in orders} == {"a", "b", "c"}
