"""The state of one model, of one version and of the gateway's processes, as texts for live elements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.auth.actions import Action
from gateway.console import environment_text, nodes, processes, text, traffic
from gateway.console.rows import SYMBOLS, best_text
from gateway.telemetry.process_snapshot import ProcessSnapshot, VersionState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.auth.rights import Rights
    from gateway.console.console import Console
    from gateway.console.traffic import Traffic

LIVE: Final = ("state", "state_text", "reason", "workers", "rate", "p95", "errors", "memory")
"""The columns of a version that change while a page is open."""


async def model_state(console: Console, name: str, rights: Rights) -> dict[str, Any]:
    """Return the live rows of a model's versions, and what `latest`, `best` and its aliases mean now."""
    shown = await console.summaries.shown(name)
    summary = shown.summary
    fields = {
        "latest": f"version {summary.model.latest}" if summary.model.latest else text.DASH,
        "latest_reason": summary.latest_reason,
        "best": best_text(summary.best),
        "best_reason": summary.best_reason,
    }
    fields |= {f"alias:{alias}": f"version {number}" for alias, number in shown.aliases}
    texts = version_texts(console, name, [version.version for version in shown.versions], rights)
    return {"rows": {number: list(row.values()) for number, row in texts.items()}, "fields": fields}


def version_texts(
    console: Console, name: str, versions: Sequence[str], rights: Rights
) -> dict[str, dict[str, str]]:
    """Return the live texts of each version, by the names in `LIVE`."""
    states = find_versions(console, name)
    figures = traffic.TrafficFigures(console.components.history)
    may_see = rights.allows_route(Action.STATUS)
    return {
        version: _version_texts(
            states.get(version) or VersionState(name, version, "cold"),
            figures.version(name, version) if may_see else traffic.NONE,
            may_see=may_see,
        )
        for version in versions
    }


def _version_texts(found: VersionState, served: Traffic, *, may_see: bool) -> dict[str, str]:
    values = (
        found.state,
        found.state,
        found.reason,
        str(found.workers) if found.workers else text.DASH,
        served.rate,
        served.p95,
        served.errors,
        text.format_bytes(found.memory_bytes) if found.memory_bytes and may_see else text.DASH,
    )
    return dict(zip(LIVE, values, strict=True))


def find_versions(console: Console, name: str) -> dict[str, VersionState]:
    """Return how all processes serve the versions of a model that any of them has loaded, or failed to."""
    found = processes.by_model(console.processes.snapshots()).get(name, ())
    return {each.version: each for each in found}


def version_state(console: Console, name: str, version: str, rights: Rights) -> dict[str, Any]:
    """Return the live texts of the page of a version."""
    found = find_versions(console, name).get(version) or VersionState(name, version, "cold")
    may_see = rights.allows_route(Action.STATUS)
    environment = console.components.engine.find_environment(name, version)
    texts = version_texts(console, name, [version], rights)[version]
    texts |= {
        "symbol": SYMBOLS[found.state],
        "waiting": str(found.waiting) if may_see else text.DASH,
        "running": str(found.running) if may_see else text.DASH,
        "pinned": "yes" if found.pinned else "no",
        "nodes": text.cut(", ".join(found.nodes), _MAX_NODES) if found.nodes and may_see else text.DASH,
        "environment": environment_text.short(environment),
        "hint": environment_text.hint(environment, loading=found.state == "loading") or _HINTS[found.state],
    }
    return {"fields": {f"version:{key}": value for key, value in texts.items()}}


def gateway_state(console: Console) -> dict[str, Any]:
    """Return the live row of each process, and of each node."""
    return {
        "rows": {row["process"]: [row[name] for name in PROCESS] for row in process_rows(console)},
        "nodes": nodes.live_rows(console.processes.snapshots()),
    }


PROCESS: Final = ("pid", "running", "lag", "requests", "warm", "memory")
"""The columns of a process."""


def process_rows(console: Console) -> list[dict[str, str]]:
    """Return the texts of each process."""
    rows = []
    for each in console.processes.snapshots():
        figures = each.figures
        is_known = figures["budget_bytes"] and not each.nodes  # whose memory has the models
        memory = figures["base_bytes"] + sum(version.memory_bytes for version in each.versions)
        rows.append(
            {
                "process": str(each.process),
                "name": "models" if each.process == console.processes.node_number else str(each.process),
                "pid": f"{figures['pid']:.0f}",
                "running": text.format_duration(figures["running_seconds"]),
                "lag": text.format_milliseconds(figures["lag_seconds"]),
                "requests": f"{figures['in_flight']:.0f}",
                "warm": str(sum(version.state == "warm" for version in each.versions)),
                "memory": text.format_bytes(memory) if is_known else text.DASH,
            }
        )
    return rows


def memory_rows(snapshots: list[ProcessSnapshot]) -> list[tuple[str, float, float]]:
    """Return what memory is used for, in bytes and as a share of the budget; the last row is what is free."""
    budget = processes.total(snapshots, "budget_bytes")
    if not budget:
        return []
    owner = "nodes" if any(each.nodes for each in snapshots) else "gateway"
    parts = [(f"{owner}, and shared by workers", processes.total(snapshots, "base_bytes"))]
    parts += [
        (f"{name} v{version.version}", float(version.memory_bytes))
        for name, versions in processes.by_model(snapshots).items()
        for version in versions
        if version.memory_bytes
    ]
    parts[1:] = sorted(parts[1:], key=lambda part: -part[1])[:_MAX_PARTS]
    parts.append(("free", max(0.0, budget - sum(size for _, size in parts))))
    return [(name, size, min(1.0, size / budget)) for name, size in parts]


_MAX_PARTS: Final = 12
_MAX_NODES: Final = 300
_HINTS: Final = {
    "cold": "No worker has this model loaded. The first request loads it, and takes longer for that.",
    "loading": "Its files are fetched and the model is loaded. Requests wait until it is warm.",
    "warm": "The model is loaded and answers at once.",
    "failed": "The last load of this model failed. The next request after a pause tries again; pauses grow.",
}
