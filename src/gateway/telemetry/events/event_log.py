"""A ring of the latest events of all gateway processes, filled from the log."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from contextlib import contextmanager
from dataclasses import astuple
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.system.log_throttle import LogThrottle
from gateway.telemetry.events.event import Event, decode_events, encode_events
from gateway.telemetry.events.from_logs import EventFields, to_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gateway.telemetry.metrics.collector import SnapshotSlot

_LIMIT: Final = 500
_PUBLISH_SECONDS: Final = 1.0
_REPEAT_SECONDS: Final = 60.0
_BRIEF_REPEAT_SECONDS: Final = 5.0
_BRIEF: Final = frozenset({"node_connected", "node_lost"})
"""The kinds that take turns: a node that is back says so, however short it was lost."""
_LOGGERS: Final = ("gateway", "workers")
_MAX_CURSOR: Final = 2_000
_REPLACED: Final = (
    "This gateway process replaces one that ended.",
    "This process, which holds the models, replaces one that ended.",
)
_CURSOR: Final = re.compile(r"(\d{1,4})-(\d{1,19})", re.ASCII)


class EventPage(NamedTuple):
    """Events, the oldest first, and the cursor for those that come after them."""

    events: list[Event]
    cursor: str

    def to_json(self) -> dict[str, Any]:
        """Return the page as JSON-serialisable data."""
        return {"cursor": self.cursor, "events": [event.to_json() for event in self.events]}


class EventLog:
    """A ring of events, `limit` of each process.

    An event that repeats within a minute with the same text is recorded once, so that a model that fails
    again and again does not displace all others; of a node that comes and goes, within five seconds. Each
    process sees the events of the others within two seconds. A process that replaces a dead one keeps its
    events.
    """

    def __init__(
        self,
        slot: SnapshotSlot,
        *,
        limit: int = _LIMIT,
        clock: Callable[[], float] = time,
        steady_clock: Callable[[], float] = monotonic,
    ) -> None:
        """`clock` returns the seconds since the epoch; `steady_clock` measures when an event repeats."""
        self._slot = slot
        self._clock = clock
        self._throttle = LogThrottle(_REPEAT_SECONDS, clock=steady_clock)
        self._brief_throttle = LogThrottle(_BRIEF_REPEAT_SECONDS, clock=steady_clock)
        self._events: deque[Event] = deque(maxlen=limit)
        self._peers: dict[int, tuple[bytes, list[Event]]] = {}
        self._published = 0
        # Processes that share the models of one of them are no fleet: that one tells of its models itself.
        self._handler = _EventHandler(self, of_nodes=slot.node_number is None)
        if stored := slot.events.read(slot.number):
            self._events.extend(decode_events(stored[0]))
            self.record(
                EventFields(
                    "process_replaced", "error", "", "", _REPLACED[slot.number == slot.node_number], ""
                )
            )

    def record(self, fields: EventFields) -> None:
        """Add an event that happens now. Called from any thread."""
        throttled = fields.kind, fields.model, fields.version, fields.text
        throttle = self._brief_throttle if fields.kind in _BRIEF else self._throttle
        if throttle.suppressed_if_due(throttled) is None:
            return
        now = self._clock()
        # Numbers that begin with the time are larger than all before a restart, so cursors stay valid.
        sequence = max(self._last_sequence + 1, round(now * 1000))
        self._events.append(Event(sequence, self._slot.number, round(now, 3), *astuple(fields)))

    @property
    def _last_sequence(self) -> int:
        return self._events[-1].sequence if self._events else 0

    def since(self, cursor: str = "") -> EventPage:
        """Return the events after a cursor, of all processes, by time; all of them for an invalid cursor.

        A cursor is good for any process.
        """
        seen = _parse_cursor(cursor)
        rings = {self._slot.number: list(self._events)}
        rings |= {number: events for number, (_, events) in self._peers.items()}
        events = [
            event for number, ring in rings.items() for event in ring if event.sequence > seen.get(number, 0)
        ]
        last = seen | {number: ring[-1].sequence for number, ring in rings.items() if ring}
        events.sort(key=lambda event: (event.time, event.process, event.sequence))
        return EventPage(events, _to_cursor(last))

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Record what the gateway logs, until the context ends."""
        loggers = [logging.getLogger(name) for name in _LOGGERS]
        for each in loggers:
            each.addHandler(self._handler)
        try:
            yield
        finally:
            for each in loggers:
                each.removeHandler(self._handler)

    async def run(self) -> None:
        """Exchange events with the other processes every second; return at once if there are none."""
        while self._slot.peers:
            await asyncio.to_thread(self._exchange)
            await asyncio.sleep(_PUBLISH_SECONDS)

    def _exchange(self) -> None:
        """Store this process' events if there are new ones, and read those of the others."""
        events = list(self._events)
        if events and events[-1].sequence != self._published:
            self._slot.events.write(self._slot.number, encode_events(events))
            self._published = events[-1].sequence
        for number in self._slot.peers:
            if stored := self._slot.events.read(number):
                content, _ = stored
                known = self._peers.get(number)
                if known is None or known[0] != content:
                    self._peers[number] = content, decode_events(content)


class _EventHandler(logging.Handler):
    """A handler that records those records of the log that are events, and drops all others."""

    def __init__(self, events: EventLog, *, of_nodes: bool) -> None:
        super().__init__(logging.INFO)
        self._events = events
        self._of_nodes = of_nodes

    def emit(self, record: logging.LogRecord) -> None:
        """Record the event that the record is, if any."""
        try:
            if (fields := to_event(record, of_nodes=self._of_nodes)) is not None:
                self._events.record(fields)
        except Exception:  # noqa: BLE001 - what logs must not fail because of what reads the log
            self.handleError(record)


def advance(cursor: str, events: Iterable[Event]) -> str:
    """Return a cursor after `cursor` and after these events; empty if there are none."""
    last = _parse_cursor(cursor)
    for event in events:
        last[event.process] = max(event.sequence, last.get(event.process, 0))
    return _to_cursor(last)


def _to_cursor(last: Mapping[int, int]) -> str:
    return "_".join(f"{number}-{last[number]}" for number in sorted(last))


def _parse_cursor(cursor: str) -> dict[int, int]:
    """Return the last sequence number of each process, or none if the cursor is invalid."""
    if not cursor or len(cursor) > _MAX_CURSOR:
        return {}
    matches = [_CURSOR.fullmatch(part) for part in cursor.split("_")]
    if not all(matches):
        return {}
    return {int(match[1]): int(match[2]) for match in matches if match}
