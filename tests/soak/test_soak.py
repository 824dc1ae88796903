"""Proves that the soak itself works: half a minute of it, with everything that a long one does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.soak import report
from tests.soak.options import Options
from tests.soak.soak import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_short_soak(tmp_path: Path) -> None:
    """Nothing is left behind and every answer is right or explained; the gateway has more time than usual."""
    options = Options(seconds=25, seed=7, clients=8, sums=5, commands=2, request_seconds=20, idle_seconds=4)
    outcome = await run(tmp_path, options)
    text = report.summary(outcome)
    assert outcome.well, text
    assert outcome.tallies.statuses[200] > 50
    assert sum(struck.times for struck in outcome.struck.values()) >= 4
    assert "All is well." in text
