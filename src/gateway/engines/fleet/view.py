"""What all connected nodes of a fleet tell, together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.engines.fleet import merged

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.engines.fleet.node import FleetNode
    from gateway.engines.fleet.roster import Roster
    from gateway.environments.state import EnvironmentState
    from workers.pool.status import DeviceReport, MemoryReport, ModelStatus
    from workers.protocol.messages import ModelKey


class FleetView:
    """A reader of the last states of the connected nodes."""

    def __init__(self, roster: Roster, *, has_names: bool = True) -> None:
        """`has_names`: the status of a model has the names of its nodes."""
        self._roster = roster
        self._has_names = has_names

    def status(self, key: ModelKey) -> ModelStatus:
        """Return how a version is served by all nodes together."""
        return self._status(key, self._roster.connected)

    def statuses(self) -> dict[ModelKey, ModelStatus]:
        """Return the status of every version that is loaded or loading on any node."""
        nodes = self._roster.connected
        return {key: self._status(key, nodes) for key in merged.known_models(nodes)}

    def _status(self, key: ModelKey, nodes: Iterable[FleetNode]) -> ModelStatus:
        status = merged.model_status(key, nodes)
        return status if self._has_names else replace(status, nodes=())

    def failures(self) -> dict[ModelKey, str]:
        """Return why each version failed to load that no node has and that is not tried again yet."""
        return merged.failures(self._roster.connected)

    def memory_report(self) -> MemoryReport:
        """Return the memory of all nodes together."""
        return merged.memory_report(self._roster.connected)

    def device_reports(self) -> list[DeviceReport]:
        """Return what is known of the GPUs of all nodes."""
        return merged.device_reports(self._roster.connected)

    def environment(self, key: ModelKey) -> EnvironmentState | None:
        """Return what the nodes know of the version's environment."""
        return merged.environment(key, self._roster.connected)

    def find_environment(self, name: str, version: str) -> EnvironmentState | None:
        """Return what the nodes know of this version's environment."""
        return merged.find_environment(name, version, self._roster.connected)
