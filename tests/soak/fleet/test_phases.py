"""Proves that the summary has the slowest answer for each fault that it overlaps."""

from __future__ import annotations

from time import monotonic

from tests.soak.fleet.phases import QUIET, Phases
from tests.soak.ledger import Sample


def test_answers_count_for_each_fault_they_overlap() -> None:
    """Those before any count for none; a wrong one is a request, and never the slowest."""
    phases = Phases()
    start = monotonic()
    phases.note(Sample("m", "1", start - 3, start - 1, 200), right=True)
    with phases.during("kill"):
        began = monotonic()
        phases.note(Sample("m", "1", start - 5, began, 200), right=True)
        phases.note(Sample("m", "1", start - 50, began, 503), right=False)
    assert phases.requests == {QUIET: 1, "kill": 2}
    assert phases.slowest[QUIET] == 2
    assert 5 <= phases.slowest["kill"] < 50
    assert phases.times["kill"] == 1
