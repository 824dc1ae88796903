"""What the nodes of a fleet tell, as one engine tells it: sums, and the state that matters most."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gateway.environments.state import EnvironmentState
from workers.pool.status import MemoryReport, ModelStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.engines.fleet.node import FleetNode
    from gateway.engines.wire.state import NodeEnvironment
    from workers.pool.status import DeviceReport
    from workers.protocol.messages import ModelKey

_MODEL_RANKS: Final = ("cold", "failed", "loading", "warm")
_ENVIRONMENT_RANKS: Final = ("shared", "failed", "ready", "building")


@dataclass(frozen=True, slots=True)
class ToldProgress:
    """The progress of a build in the words of the node that builds."""

    text: str


def model_status(key: ModelKey, nodes: Iterable[FleetNode]) -> ModelStatus:
    """Return how a version is served by all nodes together: its workers and requests are sums."""
    merged, warm = ModelStatus("cold"), []
    for node in nodes:
        merged = _merge(merged, _status_on(node, key))
        if key in node.warm:
            warm.append(node.name)
    return replace(merged, nodes=tuple(sorted(warm))) if warm else merged


def _status_on(node: FleetNode, key: ModelKey) -> ModelStatus:
    if (model := node.state.models.get(key)) is not None and (
        key in node.warm or model.status.state != "warm"
    ):
        return model.status
    if key in node.warm:
        return ModelStatus("warm")
    if (reason := node.state.failures.get(key)) is not None:
        return ModelStatus("failed", reason=reason)
    return ModelStatus("cold")


def _merge(one: ModelStatus, other: ModelStatus) -> ModelStatus:
    first, second = sorted((one, other), key=lambda status: -_MODEL_RANKS.index(status.state))
    if second.state == "cold":
        return first
    return replace(
        first,
        workers=first.workers + second.workers,
        row_batching=first.row_batching or second.row_batching,
        device=first.device or second.device,
        waiting=first.waiting + second.waiting,
        running=first.running + second.running,
    )


def known_models(nodes: Iterable[FleetNode]) -> set[ModelKey]:
    """Return the versions that are loaded or loading on any node."""
    keys: set[ModelKey] = set()
    for node in nodes:
        keys |= node.warm
        keys.update(key for key, model in node.state.models.items() if model.status.state == "loading")
    return keys


def failures(nodes: Sequence[FleetNode]) -> dict[ModelKey, str]:
    """Return why each version failed to load on a node, if no node has it."""
    found = {key: reason for node in nodes for key, reason in node.state.failures.items()}
    return {key: reason for key, reason in found.items() if not any(key in node.warm for node in nodes)}


def memory_report(nodes: Iterable[FleetNode]) -> MemoryReport:
    """Return the sums of the nodes' memory; there is a budget if any node has one."""
    budget, base = None, 0
    models: Counter[ModelKey] = Counter()
    environments: Counter[str] = Counter()
    for node in nodes:
        memory = node.state.memory
        if memory.budget_bytes is not None:
            budget = (budget or 0) + memory.budget_bytes
        base += memory.base_bytes
        models.update(memory.model_bytes)
        environments.update(memory.environment_bytes)
    return MemoryReport(budget, base, dict(models), dict(environments))


def device_reports(nodes: Iterable[FleetNode]) -> list[DeviceReport]:
    """Return what is known of the GPUs of all nodes."""
    return [device for node in nodes for device in node.state.devices]


def environment(key: ModelKey, nodes: Iterable[FleetNode]) -> EnvironmentState | None:
    """Return what the nodes know of a version's environment, first of all that one builds it."""
    return _of_highest_rank(
        [node.state.environments[key] for node in nodes if key in node.state.environments]
    )


def find_environment(name: str, version: str, nodes: Iterable[FleetNode]) -> EnvironmentState | None:
    """Return the same by name and version, whatever the fingerprint."""
    return _of_highest_rank(
        [
            environment
            for node in nodes
            for key, environment in node.state.environments.items()
            if (key.name, key.version) == (name, version)
        ]
    )


def _of_highest_rank(found: list[NodeEnvironment]) -> EnvironmentState | None:
    if not found:
        return None
    best = max(found, key=lambda environment: _ENVIRONMENT_RANKS.index(environment.state))
    progress = ToldProgress(best.progress) if best.progress else None
    return EnvironmentState(best.state, best.digest, best.python, best.reason, progress)


def spawn_failures(nodes: Sequence[FleetNode], *, without_nodes: int) -> int:
    """Return the failed starts in a row of the node that has the fewest; `without_nodes` if there is none."""
    return min((node.state.spawn_failures for node in nodes), default=without_nodes)
