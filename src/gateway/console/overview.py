"""The line at the top of every page: MLflow, processes, warm models and memory; and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.console import nodes, processes, text

if TYPE_CHECKING:
    from gateway.console.console import Console


@dataclass(frozen=True, slots=True)
class Overview:
    """Texts about the gateway as a whole; `used` is the share of the memory budget from 0 to 1, if any."""

    mlflow: str
    processes: str
    nodes: str
    warm: str
    memory: str
    used: float | None
    banner: str

    def fields(self) -> dict[str, str]:
        """Return the texts by the names that elements of the page have."""
        return {
            "mlflow": self.mlflow,
            "processes": self.processes,
            "nodes": self.nodes,
            "warm": self.warm,
            "memory": self.memory,
            "used": "" if self.used is None else f"{self.used:.3f}",
        }


def build_overview(console: Console) -> Overview:
    """Return the overview of all processes."""
    snapshots, components = console.processes.snapshots(), console.components
    versions = [version for found in processes.by_model(snapshots).values() for version in found]
    warm = sum(version.state == "warm" for version in versions)
    budget = processes.total(snapshots, "budget_bytes")
    used = processes.total(snapshots, "base_bytes")
    used += sum(version.memory_bytes for version in versions)
    count = sum(each.process != console.processes.node_number for each in snapshots)
    return Overview(
        mlflow=_mlflow_text(console),
        processes=f"{count} {'process' if count == 1 else 'processes'}",
        nodes=nodes.describe_nodes(snapshots),
        warm=f"{warm} of {components.settings.value.max_loaded_models} models warm",
        memory=f"memory {text.format_bytes(used)} of {text.format_bytes(budget)}" if budget else "",
        used=min(1.0, used / budget) if budget else None,
        banner=build_banner(console),
    )


def build_banner(console: Console) -> str:
    """Return what is wrong with the gateway now in a sentence, or nothing."""
    components = console.components
    problems = []
    if components.in_flight.draining:
        problems.append("This gateway process is shutting down.")
    if (away := _away_since(console)) is not None:
        problems.append(
            f"MLflow does not answer since {away:%Y-%m-%d %H:%M} UTC. Known models are served on."
        )
    elif not components.catalog.ever_reached:
        problems.append("MLflow was not reached yet.")
    if not components.worker_health.can_start:
        problems.append("No worker process can be started: models that are not warm cannot be loaded.")
    if _lacks_nodes(console):
        problems.append("No node of the fleet is connected: requests wait a moment for one, then get 503.")
    return " ".join(problems)


def _lacks_nodes(console: Console) -> bool:
    """Return whether models run on nodes, and a process has none."""
    snapshots = console.processes.snapshots()
    needs_some = console.components.settings.value.fleet.engine != "local"
    return nodes.none_alive(snapshots) or (needs_some and not any(each.nodes for each in snapshots))


def _away_since(console: Console) -> datetime | None:
    since = [away for each in console.processes.snapshots() if (away := each.figures["mlflow_away_since"])]
    return datetime.fromtimestamp(min(since), UTC) if since else None


def _mlflow_text(console: Console) -> str:
    if _away_since(console) is not None:
        return "✕ MLflow does not answer"
    return "● MLflow reached" if console.components.catalog.ever_reached else "○ MLflow not reached yet"
