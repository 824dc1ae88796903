"""Proves that each process has the events of all, and that a cursor misses none and repeats none."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

import orjson
import pytest

from gateway.telemetry.events import EventLog
from gateway.telemetry.events.from_logs import EventFields
from gateway.telemetry.metrics.collector import SnapshotSlot
from gateway.telemetry.metrics.shared import SharedSnapshots
from tests.support.manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable


def died(model: str, text: str = "A worker died.") -> EventFields:
    return EventFields("worker_died", "error", model, "1", text, "")


class Gateway:
    """Gateway processes with one clock."""

    def __init__(self, processes: int = 1) -> None:
        self.now = 1_000.0
        self._shared = SharedSnapshots(processes), SharedSnapshots(processes)

    def log(
        self, number: int = 1, *, limit: int = 500, steady_clock: Callable[[], float] = monotonic
    ) -> EventLog:
        """Return the events of one process."""
        metrics, events = self._shared
        slot = SnapshotSlot(metrics, number, events=events)
        return EventLog(slot, limit=limit, clock=lambda: self.now, steady_clock=steady_clock)


def models(log: EventLog, cursor: str = "") -> list[str]:
    return [event.model for event in log.since(cursor).events]


def test_the_ring_is_bounded() -> None:
    """The oldest events go; numbers grow, although many events happen at one time."""
    log = Gateway().log(limit=3)
    for number in range(5):
        log.record(died(f"m{number}"))
    page = log.since()
    assert [event.model for event in page.events] == ["m2", "m3", "m4"]
    sequences = [event.sequence for event in page.events]
    assert sequences == sorted(set(sequences))
    assert log.since(page.cursor).events == []
    assert log.since(page.cursor).cursor == page.cursor


def test_an_event_that_repeats() -> None:
    """A model that fails again and again does not displace what happened to others."""
    log = Gateway().log()
    for _ in range(1_000):
        log.record(died("a"))
        log.record(died("b"))
    assert models(log) == ["a", "b"]


def test_a_node_that_comes_back() -> None:
    """It is connected again within a minute, which must be seen; what repeats at once is one event."""
    clock, gateway = ManualClock(), Gateway()
    log = gateway.log(steady_clock=clock)
    for _ in range(3):
        for kind in ("node_connected", "node_lost"):
            for _ in range(100):
                log.record(EventFields(kind, "info", "", "", "a", ""))
        clock.advance(6.0)
    assert [event.kind for event in log.since().events] == ["node_connected", "node_lost"] * 3


@pytest.mark.parametrize(
    "cursor", ["x", "1", "1-", "-5", "1-2_", "1-2;3-4", "1-" + "9" * 5_000, "\uff11-\uff12", "0-1_" * 2_000]
)
def test_an_invalid_cursor(cursor: str) -> None:
    """All events come."""
    log = Gateway().log()
    log.record(died("a"))
    assert models(log, cursor) == ["a"]


def test_two_processes() -> None:
    """Either has the events of both in the order of time, and continues from the other's cursor."""
    gateway = Gateway(2)
    one, two = gateway.log(1), gateway.log(2)
    one.record(died("a"))
    gateway.now += 1
    two.record(died("b"))
    gateway.now += 1
    one.record(died("c"))
    for log in (one, two, one):
        log._exchange()
    assert models(one) == models(two) == ["a", "b", "c"]
    assert [event.process for event in one.since().events] == [1, 2, 1]
    assert len({event.id for event in one.since().events}) == 3
    cursor = two.since().cursor
    assert one.since(cursor).events == []
    two.record(died("d"))  # at the time of an event that was seen already
    for log in (two, one):
        log._exchange()
    assert models(one, cursor) == models(two, cursor) == ["d"]
    assert orjson.loads(orjson.dumps(one.since(cursor).to_json()))["events"][0]["model"] == "d"


def test_a_replacement_of_a_dead_process() -> None:
    """It keeps the events of its number, and adds that it replaced the one that had it."""
    gateway = Gateway(2)
    one, two = gateway.log(1), gateway.log(2)
    two.record(died("a"))
    two._exchange()
    one._exchange()
    cursor = one.since().cursor
    replacement = gateway.log(2)
    replacement._exchange()
    one._exchange()
    for log in (one, replacement):
        (event,) = log.since(cursor).events
        assert (event.kind, event.process) == ("process_replaced", 2)
        assert models(log) == ["a", ""]


def test_a_cursor_after_a_restart_of_the_gateway() -> None:
    """Numbers begin with the time, so the events of the new gateway come after those of the old one."""
    gateway = Gateway()
    log = gateway.log()
    log.record(died("a"))
    cursor = log.since().cursor
    later = Gateway()
    later.now = gateway.now + 10
    new = later.log()
    new.record(died("b"))
    assert models(new, cursor) == ["b"]


def test_listening(caplog: pytest.LogCaptureFixture) -> None:
    """Records of the gateway and its workers are recorded while it listens; a broken one harms nothing."""
    for name in ("gateway", "workers"):
        caplog.set_level(logging.INFO, name)
    log = Gateway().log()
    logger = logging.getLogger("workers.pool.x")

    def lose(model: str) -> None:
        logger.error("lost", extra={"event": "worker_exited", "model": model})

    lose("before/1")
    with log.listening():
        lose("during/1")
        logging.raiseExceptions = False
        try:
            logger.info("loaded", extra={"event": "model_loaded", "model": "broken/1", "workers": "many"})
        finally:
            logging.raiseExceptions = True
        logger.info("Unloaded", extra={"event": "model_unloaded", "model": "idle/1", "reason": "idle"})
    lose("after/1")
    assert models(log) == ["during", "idle"]
