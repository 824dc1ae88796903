"""What the log says of answers older than their time."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from gateway.catalog.staleness import StaleLog
from gateway.domain.refs import Latest, ModelRef

if TYPE_CHECKING:
    import pytest

WINE = ModelRef("wine", Latest())


def test_a_spell_is_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    """One when the first old answer is given, one with their number when it is over, none between."""
    caplog.set_level(logging.INFO, "gateway")
    spell = StaleLog(quiet=0.05)
    spell.record_fresh()
    for _ in range(100):
        spell.record_stale(WINE, 7.2)
    spell.record_fresh()
    assert len(caplog.records) == 1
    time.sleep(0.06)
    spell.record_fresh()
    spell.record_fresh()
    begun, over = [record.getMessage() for record in caplog.records]
    assert begun.endswith("(the first: wine/latest, 7 s old)")
    assert "100 requests" in over


def test_an_answer_now_and_then_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    """An MLflow that is slow, and answers some refs in time, does not fill the log."""
    spell = StaleLog(quiet=60)
    for _ in range(10):
        spell.record_stale(WINE, 6.0)
        spell.record_fresh()
    assert len(caplog.records) == 1
