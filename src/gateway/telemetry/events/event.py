"""One event, with texts of bounded length."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

import orjson

from gateway.system.redaction import redact_urls

Kind = Literal[
    "loaded",
    "load_failed",
    "unloaded",
    "evicted",
    "version_switched",
    "switch_failed",
    "worker_died",
    "worker_hung",
    "worker_restart_failed",
    "workers_unavailable",
    "workers_available",
    "mlflow_away",
    "mlflow_back",
    "download_failed",
    "files_damaged",
    "process_replaced",
    "node_connected",
    "node_unreachable",
    "node_lost",
    "node_refused",
]
Level = Literal["info", "warning", "error"]

_MAX_TEXT: Final = 300
_MAX_NAME: Final = 256


class Event(NamedTuple):
    """Something that happened: `time` is in seconds since the epoch, `process` the number of the process.

    `sequence` grows within a process, also over its replacements and restarts of the gateway. `model` and
    `version` are empty if the event concerns no model; `version` may be that of a ref, such as `@champion`.
    """

    sequence: int
    process: int
    time: float
    kind: Kind
    level: Level
    model: str
    version: str
    text: str
    request_id: str

    @property
    def id(self) -> str:
        """An identifier among the events of all processes."""
        return f"{self.process}-{self.sequence}"

    def to_json(self) -> dict[str, Any]:
        """Return the event as JSON-serialisable data."""
        return {"id": self.id, **self._asdict()}


def clean_text(text: str, *, limit: int = _MAX_TEXT) -> str:
    """Return the text on one line, without secrets of addresses, and cut to `limit` characters."""
    text = redact_urls(text[: 4 * limit])
    line = "".join(char if char.isprintable() else " " for char in text).strip()
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def clean_name(name: str) -> str:
    """Return a model's name or version as it is, unless it is longer than names of MLflow may be."""
    return name[:_MAX_NAME].encode("utf-8", "replace").decode()


def encode_events(events: list[Event]) -> bytes:
    """Return the events as bytes for other processes."""
    return orjson.dumps([tuple(event) for event in events])


def decode_events(content: bytes) -> list[Event]:
    """Return the events that `encode_events` encoded."""
    return [Event(*fields) for fields in orjson.loads(content)]
