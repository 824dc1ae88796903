"""Proves that only so many wait for a version to be loaded."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from gateway.serving.admission import LoadWaitLimit
from workers.errors import QueueFull
from workers.metrics import QUEUE_REJECTIONS, Counters
from workers.protocol.messages import ModelKey

WINE, PLAIN = (ModelKey(name, "1", "f") for name in ("wine", "plain"))


def test_each_version_has_its_own_bound() -> None:
    """One more is turned away at once, and counted; whoever ends makes room."""
    tally = Counters()
    waiting = LoadWaitLimit(2, counters=tally)
    with ExitStack() as stack:
        first = ExitStack()
        first.enter_context(waiting.slot(WINE))
        stack.enter_context(waiting.slot(WINE))
        with pytest.raises(QueueFull, match="2 requests wait for this version to be loaded"):
            stack.enter_context(waiting.slot(WINE))
        stack.enter_context(waiting.slot(PLAIN))
        first.close()
        stack.enter_context(waiting.slot(WINE))
    with waiting.slot(WINE), waiting.slot(WINE):
        pass
    assert tally.counts[QUEUE_REJECTIONS, ("wine", "1")] == 1
    assert tally.counts[QUEUE_REJECTIONS, ("plain", "1")] == 0
