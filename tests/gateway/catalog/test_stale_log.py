"""What the log says of answers older than their time."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from gateway.catalog.staleness import Staleness
from gateway.domain.refs import Latest, ModelRef

if TYPE_CHECKING:
    import pytest

WINE = ModelRef("wine", Latest())


def test_a_spell_is_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    """One when the first old answer is given, one with their number when it is over, none between."""
    caplog.set_level(logging.INFO, "gateway")
    spell = Staleness(quiet=0.05)
    spell.answered()
    for _ in range(100):
        spell.given(WINE, 7.2)
    spell.answered()
    assert len(caplog.records) == 1
    time.sleep(0.06)
    spell.answered()
    spell.answered()
    begun, over = [record.getMessage() for record in caplog.records]
    assert begun.endswith("(the first: wine/latest, 7 s old)")
    assert "100 requests" in over


def test_an_answer_now_and_then_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    """An MLflow that is slow, and answers some refs in time, does not fill the log."""
    spell = Staleness(quiet=60)
    for _ in range(10):
        spell.given(WINE, 6.0)
        spell.answered()
    assert len(caplog.records) == 1
