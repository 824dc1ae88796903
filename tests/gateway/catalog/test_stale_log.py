"""Proves what the log contains about requests that got stale resolutions."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.catalog.cache import StaleLog
from gateway.domain.refs import Latest, ModelRef
from tests.support.manual_clock import ManualClock

if TYPE_CHECKING:
    import pytest

WINE = ModelRef("wine", Latest())


def test_a_period_has_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    """One at the first stale resolution and one, with their number, at the end; none in between."""
    caplog.set_level(logging.INFO, "gateway")
    clock = ManualClock()
    stale_log = StaleLog(quiet=30, clock=clock)
    stale_log.record_fresh()
    for _ in range(100):
        stale_log.record_stale(WINE, 7.2)
    stale_log.record_fresh()
    assert len(caplog.records) == 1
    clock.advance(31)
    stale_log.record_fresh()
    stale_log.record_fresh()
    start, end = [record.getMessage() for record in caplog.records]
    assert start.endswith("(first: wine/latest, 7 s old)")
    assert "100 requests" in end


def test_a_single_answer_does_not_end_the_period(caplog: pytest.LogCaptureFixture) -> None:
    """A slow MLflow that answers some lookups in time does not fill the log."""
    stale_log = StaleLog(quiet=60, clock=ManualClock())
    for _ in range(10):
        stale_log.record_stale(WINE, 6.0)
        stale_log.record_fresh()
    assert len(caplog.records) == 1
