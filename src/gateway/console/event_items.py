"""Events as people read them: those that a caller may know of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from gateway.auth.actions import Action
from gateway.telemetry.events import EventPage, advance

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.auth.rights import Rights
    from gateway.telemetry.events import Event, EventLog

SYMBOLS: Final = {"info": "●", "warning": "▲", "error": "✕"}
WORDS: Final = {
    "loaded": "Loaded",
    "load_failed": "Failed to load",
    "unloaded": "Unloaded",
    "evicted": "Unloaded",
    "version_switched": "Switched",
    "switch_failed": "Did not switch",
    "worker_died": "Worker died",
    "worker_hung": "Worker hung",
    "worker_restart_failed": "No new worker",
    "workers_unavailable": "No workers",
    "workers_available": "Workers again",
    "mlflow_away": "MLflow away",
    "mlflow_back": "MLflow back",
    "download_failed": "Download failed",
    "files_damaged": "Files damaged",
    "process_replaced": "Process replaced",
    "node_connected": "Node connected",
    "node_unreachable": "Node not reached",
    "node_lost": "Node lost",
    "node_refused": "Node refused",
}
"""Kinds of events in words; an unknown kind is shown as it is."""

Item = dict[str, str]


async def visible_since(log: EventLog, rights: Rights, cursor: str = "") -> EventPage:
    """Return the events after a cursor that the caller may know of, and the cursor for those after them.

    They are about models that it may read, or about the gateway. The cursor of a caller that may not know of
    all does not move with the others: it would tell when these happened.
    """
    page = log.since(cursor)
    status = rights.allows_route(Action.STATUS)
    if rights.reads == "all" and status:
        return page
    names = {event.model for event in page.events if event.model}
    readable = names if rights.reads == "all" else await rights.readable(names)
    visible = [event for event in page.events if (event.model in readable if event.model else status)]
    return EventPage(visible, advance(cursor, visible))


def to_items(events: Iterable[Event]) -> list[Item]:
    """Return the texts of events."""
    return [_to_item(event) for event in events]


def _to_item(event: Event) -> Item:
    moment = datetime.fromtimestamp(event.time, UTC)
    return {
        "id": event.id,
        "time": moment.strftime("%H:%M:%S"),
        "at": moment.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "level": event.level,
        "symbol": SYMBOLS.get(event.level, "●"),
        "what": WORDS.get(event.kind, event.kind),
        "model": event.model,
        "version": event.version,
        "text": event.text,
        "request_id": event.request_id,
        "process": str(event.process),
    }
