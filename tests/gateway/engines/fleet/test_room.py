"""Proves that a node with too few places for its models does not load and evict them in turn without end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.gateway.engines.fleet.harness import FleetHarness, fleet, key

if TYPE_CHECKING:
    from tests.support.played_nodes import PlayedNode


def ask(nodes: FleetHarness, name: str) -> PlayedNode:
    """Ask for a prediction, and return the node that was given it."""
    task = nodes.predict(name, b"asked")
    nodes.loop.advance(0.01)
    (node,) = [node for node in nodes.nodes if node.jobs]
    nodes.answer_all()
    nodes.loop.advance(0.01)
    assert task.result().reply.body == b"answer to asked"
    return node


def neighbour(nodes: FleetHarness, name: str) -> str:
    """Return another model with the same home."""
    home = nodes.order(name)[0]
    return next(other for other in map(str, range(1000)) if nodes.order(other)[0] is home)


def test_a_model_that_its_node_soon_evicted_goes_to_the_next_node_for_half_a_minute() -> None:
    """The node's answer tells it. Afterwards the model is loaded there again."""
    with fleet() as nodes:
        home, second, _ = nodes.order("m")
        assert ask(nodes, "m") is home
        home.evict(key("m"))
        assert ask(nodes, "m") is second
        nodes.loop.advance(20.0)
        assert ask(nodes, "m") is second
        nodes.loop.advance(5.0)
        assert home.load_count == 1, "nothing is loaded there in the background either"
        nodes.loop.advance(10.0)
        assert ask(nodes, "m") is second
        nodes.loop.advance(2.0)
        assert ask(nodes, "m") is home


def test_a_model_that_another_one_soon_displaced_goes_to_the_next_node() -> None:
    """The node's state tells it, because the other one was loaded at that time."""
    with fleet() as nodes:
        home, second, _ = nodes.order("m")
        other = neighbour(nodes, "m")
        assert ask(nodes, "m") is home
        home.evict(key("m"))
        assert ask(nodes, other) is home
        nodes.loop.call(home.beat)
        nodes.loop.advance(0.01)
        assert ask(nodes, "m") is second
        assert home.load_count == 2


def test_a_model_that_was_evicted_late_is_loaded_on_its_node_again() -> None:
    """It was the least recently used one, which says nothing of the node's room."""
    with fleet() as nodes:
        home = nodes.order("m")[0]
        assert ask(nodes, "m") is home
        nodes.loop.advance(40.0)
        home.evict(key("m"))
        assert ask(nodes, "m") is home


def test_a_model_that_its_node_unloaded_for_no_other_is_loaded_there_again() -> None:
    """It was idle, or another gateway unloaded it."""
    with fleet() as nodes:
        home = nodes.order("m")[0]
        assert ask(nodes, "m") is home
        nodes.loop.advance(5.0)
        home.evict(key("m"))
        nodes.loop.advance(2.0)
        assert ask(nodes, "m") is home
        assert home.load_count == 2
