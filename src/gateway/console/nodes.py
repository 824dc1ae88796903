"""The nodes of a fleet as texts for live elements: what all gateway processes know of each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from gateway.console import text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.engines.node_report import NodeReport, NodeState
    from gateway.telemetry.process_snapshot import ProcessSnapshot

SYMBOLS: Final[dict[NodeState, str]] = {"connected": "●", "connecting": "◐", "lost": "✕", "refused": "✕"}
COLUMNS: Final = (
    "state",
    "state_text",
    "reason",
    "version",
    "models",
    "memory",
    "used",
    "in_flight",
    "round_trip",
    "since",
)
"""The columns of a node that change while a page is open."""
MAX_ROWS: Final = 200
_BADNESS: Final = {"connected": 0, "connecting": 1, "lost": 2, "refused": 3}
_MAX_NAME: Final = 253
_MAX_VERSION: Final = 24
_MAX_REASON: Final = 140

Row = dict[str, str]


def node_rows(snapshots: Iterable[ProcessSnapshot]) -> list[Row]:
    """Return the texts of at most `MAX_ROWS` nodes by name; those that are not connected are kept first."""
    rows = [_row(views) for views in _by_address(snapshots)]
    if len(rows) > MAX_ROWS:
        rows = sorted(rows, key=lambda row: row["state"] == "connected")[:MAX_ROWS]
    return sorted(rows, key=lambda row: (row["name"], row["address"]))


def live_rows(snapshots: Iterable[ProcessSnapshot]) -> dict[str, list[str]]:
    """Return the texts of each node in the order of `COLUMNS`, by its address."""
    return {row["address"]: [row[name] for name in COLUMNS] for row in node_rows(snapshots)}


def count_nodes(snapshots: Iterable[ProcessSnapshot]) -> tuple[int, int]:
    """Return how many nodes are connected to every process that knows them, and how many there are."""
    views = list(_by_address(snapshots))
    return sum(all(view.is_alive for view in found) for found in views), len(views)


def describe_nodes(snapshots: Iterable[ProcessSnapshot]) -> str:
    """Return how many nodes are connected in words; empty if there are none."""
    alive, count = count_nodes(snapshots)
    if not count:
        return ""
    noun = "node" if count == 1 else "nodes"
    return f"● {count} {noun} connected" if alive == count else f"✕ {alive} of {count} {noun} connected"


def none_alive(snapshots: Iterable[ProcessSnapshot]) -> bool:
    """Return whether a process knows nodes, and is connected to none."""
    return any(each.nodes and not any(node.is_alive for node in each.nodes) for each in snapshots)


def _by_address(snapshots: Iterable[ProcessSnapshot]) -> Iterator[list[NodeReport]]:
    """Yield what the processes say of a node, node by node."""
    found: dict[str, list[NodeReport]] = {}
    for each in snapshots:
        for node in each.nodes:
            found.setdefault(node.address, []).append(node)
    yield from found.values()


def _row(views: Sequence[NodeReport]) -> Row:
    """Return the texts of one node: the worst state that a process sees, and the sum of their requests."""
    worst = max(views, key=lambda view: _BADNESS[view.state])
    source = next((view for view in views if view.is_alive), worst)
    used, budget = source.memory_used_bytes, source.memory_budget_bytes
    trips = [view.round_trip_seconds for view in views if view.round_trip_seconds is not None]
    return {
        "name": text.cut(worst.name, _MAX_NAME),
        "address": text.cut(worst.address, _MAX_NAME),
        "state": worst.state,
        "state_text": _state_text(worst, views, draining=source.draining),
        "reason": text.cut(worst.reason, _MAX_REASON),
        "version": text.cut(source.product_version, _MAX_VERSION) or text.DASH,
        "models": str(source.warm_models) if source.is_alive else text.DASH,
        "memory": _memory_text(used, budget),
        "used": f"{min(1.0, used / budget):.3f}" if used is not None and budget else "",
        "in_flight": str(sum(view.in_flight for view in views)),
        "round_trip": text.format_milliseconds(max(trips, default=None)),
        "since": _moment(worst.since),
    }


def _state_text(worst: NodeReport, views: Sequence[NodeReport], *, draining: bool) -> str:
    same = sum(view.state == worst.state for view in views)
    where = f" for {same} of {len(views)} processes" if same < len(views) else ""
    return f"{worst.state}{where}{', shutting down' if draining else ''}"


def _memory_text(used: int | None, budget: int | None) -> str:
    if used is None:
        return text.DASH
    return f"{text.format_bytes(used)} of {text.format_bytes(budget)}" if budget else text.format_bytes(used)


def _moment(since: datetime) -> str:
    """Return the time of day, with the date unless it is today's."""
    moment = since.astimezone(UTC)
    is_today = moment.date() == datetime.now(UTC).date()
    return moment.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M")
