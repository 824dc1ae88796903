"""Which records of the log are events, and what their texts say."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.telemetry import logs
from gateway.telemetry.events.event import clean_name, clean_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.telemetry.events.event import Kind, Level

Fields = dict[str, Any]

_MAX_REQUEST_ID: Final = 128


@dataclass(frozen=True, slots=True)
class EventSource:
    """How a record of the log becomes an event of this kind.

    `text` makes its text from the record's fields: never from its message, which may have a trace. A `ref`
    has a selector in place of a version. A `requested` event happens while its cause, a request, waits.
    """

    kind: Kind
    text: Callable[[Fields], str]
    ref: bool = False
    requested: bool = False


@dataclass(frozen=True, slots=True)
class EventFields:
    """What an event says, without when and where it happened."""

    kind: Kind
    level: Level
    model: str
    version: str
    text: str
    request_id: str


_UNLOAD_REASONS: Final = {
    "capacity": "another model needed its slot",
    "fair_share": "another caller's model needed its slot",
    "limit_lowered": "fewer models may be loaded now",
    "idle": "no request came for it",
    "memory": "another model needed its memory",
    "memory_budget": "more memory was used than allowed",
    "request": "a client asked for it",
}


def _reason(fields: Fields) -> str:
    return str(fields.get("reason", "no reason is known"))


def _loaded(fields: Fields) -> str:
    workers = int(fields["workers"])
    return f"Loaded in {float(fields['seconds']):.2f} s by {workers} worker{'s' if workers > 1 else ''}."


def _unloaded(fields: Fields) -> str:
    reason = _reason(fields)
    return f"Unloaded: {_UNLOAD_REASONS.get(reason, reason)}."


def _node(fields: Fields) -> str:
    return str(fields.get("node", "unknown"))


SOURCES: Final[Mapping[str, EventSource]] = {
    "model_loaded": EventSource("loaded", _loaded, requested=True),
    "model_load_failed": EventSource(
        "load_failed", lambda fields: f"Could not be loaded: {_reason(fields)}", requested=True
    ),
    "model_lost_last_worker": EventSource(
        "load_failed", lambda fields: f"Lost its last worker: {_reason(fields)}"
    ),
    "model_unloaded": EventSource("evicted", _unloaded),
    "version_switched": EventSource(
        "version_switched", lambda fields: f"Now serves version {fields['version']}.", ref=True
    ),
    "rollover_failed": EventSource(
        "switch_failed",
        lambda fields: (
            f"Version {fields['version']} failed to load; the one before serves on: {_reason(fields)}"
        ),
        ref=True,
    ),
    "worker_exited": EventSource("worker_died", lambda _: "A worker exited unexpectedly; it is replaced."),
    "worker_broke_protocol": EventSource(
        "worker_died", lambda _: "A worker was ended because its model's code wrote to the gateway's socket."
    ),
    "worker_timeout": EventSource(
        "worker_hung",
        lambda fields: f"A worker did not reply within {fields['seconds']:g} s; it is killed and replaced.",
    ),
    "worker_restart_failed": EventSource(
        "worker_restart_failed", lambda _: "A worker that ended could not be replaced yet."
    ),
    "worker_starts_failing": EventSource(
        "workers_unavailable", lambda _: "No worker process can be started."
    ),
    "worker_starts_recovered": EventSource(
        "workers_available", lambda _: "Worker processes can be started again."
    ),
    "mlflow_calls_failing": EventSource("mlflow_away", lambda _: "Calls to MLflow fail."),
    "mlflow_calls_succeeding": EventSource("mlflow_back", lambda _: "Calls to MLflow succeed again."),
    "artifact_download_failed": EventSource(
        "download_failed",
        lambda fields: f"Its files could not be downloaded: {_reason(fields)}",
        requested=True,
    ),
    "cached_files_damaged": EventSource(
        "files_damaged", lambda _: "Its cached files were damaged; they are downloaded again."
    ),
    # Callers who may read a model see its events, so these name no node.
    "node_loaded": EventSource("loaded", lambda _: "Loaded on a node of the fleet.", requested=True),
    "node_load_failed": EventSource(
        "load_failed", lambda fields: f"Could not be loaded: {_reason(fields)}", requested=True
    ),
    "node_unloaded": EventSource("evicted", lambda _: "Not loaded any more on a node of the fleet."),
    "node_connected": EventSource("node_connected", lambda fields: f"The node {_node(fields)} is connected."),
    "node_unreachable": EventSource(
        "node_unreachable",
        lambda fields: f"The node {_node(fields)} cannot be reached, and is tried again: {_reason(fields)}",
    ),
    "node_lost": EventSource(
        "node_lost",
        lambda fields: f"The node {_node(fields)} is lost, and tried again: {_reason(fields)}",
    ),
    "node_refused": EventSource(
        "node_refused", lambda fields: f"The node {_node(fields)} cannot be used: {_reason(fields)}"
    ),
}
"""The records that are events, by their `event`."""


def to_event(record: logging.LogRecord, *, of_nodes: bool = True) -> EventFields | None:
    """Return the event that a record of the log is; None if it is none, or of a node without `of_nodes`."""
    fields = record.__dict__
    name = str(fields.get("event"))
    source = SOURCES.get(name)
    if source is None or (name.startswith("node_") and not of_nodes):
        return None
    model, version = _split(str(fields.get("model", "")), ref=source.ref)
    kind = source.kind
    if kind == "evicted" and fields.get("reason") == "request":
        kind = "unloaded"
    return EventFields(
        kind,
        _level(record),
        clean_name(model),
        clean_name(version),
        clean_text(source.text(fields)),
        logs.request_id.get()[:_MAX_REQUEST_ID] if source.requested else "",
    )


def _level(record: logging.LogRecord) -> Level:
    if record.levelno >= logging.ERROR:
        return "error"
    return "warning" if record.levelno >= logging.WARNING else "info"


def _split(model: str, *, ref: bool) -> tuple[str, str]:
    """Return the name and the version, or the selector, of a version or ref as the log has it.

    An alias has no slash, so a ref that ends with `/latest` or `/best` is no alias.
    """
    if ref and not model.endswith(("/latest", "/best")):
        name, _, alias = model.rpartition("@")
        return name, f"@{alias}"
    name, _, version = model.rpartition("/")
    return name, version
