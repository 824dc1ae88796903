"""The gauges of a fleet's nodes, with a bounded number of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.telemetry.metrics import definitions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.engines.node_report import NodeReport
    from gateway.telemetry.metrics.definitions import MetricSpec

MAX_NODES: Final = 100
"""The number of nodes that have series of their own; the others are the node `OTHER`."""
OTHER: Final = "other"


def node_gauges(nodes: Iterable[NodeReport]) -> Iterator[tuple[MetricSpec, tuple[str, ...], float]]:
    """Yield the gauges of each node; of nodes that share a label: sums, the worst state, the longest trip."""
    groups: dict[str, list[NodeReport]] = {}
    for node in sorted(nodes, key=lambda node: node.name):
        label = node.name if node.name in groups or len(groups) < MAX_NODES else OTHER
        groups.setdefault(label, []).append(node)
    for label, group in groups.items():
        for spec, value in _values(group):
            yield spec, (label,), value


def _values(group: Sequence[NodeReport]) -> Iterator[tuple[MetricSpec, float]]:
    yield definitions.NODE_UP, all(node.is_alive for node in group)
    yield definitions.NODE_MODELS, sum(node.warm_models for node in group)
    yield definitions.NODE_IN_FLIGHT, sum(node.in_flight for node in group)
    for spec, known in (
        (definitions.NODE_MEMORY, [node.memory_used_bytes for node in group]),
        (definitions.NODE_MEMORY_LIMIT, [node.memory_budget_bytes for node in group]),
    ):
        if sizes := [size for size in known if size is not None]:
            yield spec, sum(sizes)
    trips = [node.round_trip_seconds for node in group if node.round_trip_seconds is not None]
    if trips:
        yield definitions.NODE_ROUND_TRIP, max(trips)
