"""Proves that the gauges of a fleet's nodes have a bounded number of labels, and lose no node."""

from __future__ import annotations

from gateway.telemetry.metrics import definitions
from gateway.telemetry.metrics.node_gauges import MAX_NODES, OTHER, node_gauges
from tests.support.reported_nodes import node


def test_further_nodes_are_one() -> None:
    """Its figures are sums, the worst state and the longest round trip."""
    reports = [node(f"n{number:03}", round_trip_seconds=number / 1000) for number in range(MAX_NODES)]
    more = [node("z1", round_trip_seconds=0.5), node("z2", "lost"), node("z3", round_trip_seconds=0.7)]
    found = {(spec, labels): value for spec, labels, value in node_gauges([*more, *reports])}
    assert len({labels for _, labels in found}) == MAX_NODES + 1
    other = {spec.name.removeprefix("gateway_node_"): found[spec, (OTHER,)] for spec in _of(found)}
    assert other == {
        "up": 0,
        "models": 6,
        "in_flight": 4,
        "memory_bytes": 600 * 2**20,
        "memory_limit_bytes": 4 * 2**30,
        "round_trip_seconds": 0.7,
    }
    assert found[definitions.NODE_UP, ("n000",)] == 1


def test_two_nodes_with_one_name() -> None:
    """Two programs on one machine may name themselves alike: their figures add up."""
    found = {spec: value for spec, _, value in node_gauges([node("a"), node("a", "refused")])}
    assert (found[definitions.NODE_UP], found[definitions.NODE_MODELS]) == (0, 3)


def _of(found: dict[tuple[definitions.MetricSpec, tuple[str, ...]], float]) -> set[definitions.MetricSpec]:
    return {spec for spec, labels in found if labels == (OTHER,)}
