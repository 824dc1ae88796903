"""Nodes that an application believes to have, though its models run in workers of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.api.keys import COMPONENTS
from gateway.console import processes
from gateway.engines.local import LocalEngine
from gateway.engines.node_report import NodeReport

if TYPE_CHECKING:
    import pytest

    from gateway.engines.node_report import NodeState
    from tests.support.gateways import Gateway
    from workers.pool.status import ModelStatus
    from workers.protocol.messages import ModelKey

SINCE = datetime(2026, 11, 28, 14, 2, 7, tzinfo=UTC)
REASON = "No message came for 3 s; the address of its secret is 10.9.8.7."


def node(name: str, state: NodeState = "connected", **fields: Any) -> NodeReport:
    """Return the report of a node; a connected one has models and measured figures."""
    values: dict[str, Any] = {"reason": "" if state == "connected" else REASON}
    if state == "connected":
        values |= {
            "product_version": "0.2.0",
            "warm_models": 3,
            "in_flight": 2,
            "memory_used_bytes": 300 * 2**20,
            "memory_budget_bytes": 2 * 2**30,
            "round_trip_seconds": 0.0004,
        }
    return NodeReport(name, f"{name}:8443", state, SINCE, **values | fields)


class PlayedNodes:
    """The nodes of one application; tests change them while it runs."""

    def __init__(self, *reports: NodeReport) -> None:
        self.reports = reports

    def put_into(self, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the application's engine report these nodes, and each warm version on the connected ones."""
        engine = gateway.app[COMPONENTS].engine
        assert isinstance(engine, LocalEngine)
        status, statuses = engine.status, engine.statuses
        monkeypatch.setattr(processes, "_SAME_LOOK_SECONDS", 0.0)  # what a test changes is seen at once
        monkeypatch.setattr(engine, "nodes", lambda: self.reports)
        monkeypatch.setattr(engine, "status", lambda key: self._on_nodes(status(key)))
        monkeypatch.setattr(engine, "statuses", lambda: self._all(statuses()))

    def _all(self, found: Any) -> dict[ModelKey, ModelStatus]:
        return {key: self._on_nodes(status) for key, status in found.items()}

    def _on_nodes(self, status: ModelStatus) -> ModelStatus:
        names = tuple(sorted(report.name for report in self.reports if report.is_alive))
        return replace(status, nodes=names) if status.state == "warm" else status
