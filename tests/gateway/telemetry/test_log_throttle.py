"""Proves that the log tells of refusals, once for many of a kind."""

from __future__ import annotations

import asyncio

from gateway.telemetry.log_throttle import LogThrottle


async def test_one_of_a_kind_in_its_time() -> None:
    """The first is told at once, those that follow are counted, the next one after the time says how many."""
    complaints = LogThrottle(interval=0.2)
    assert complaints.suppressed_if_due("a") == 0
    assert [complaints.suppressed_if_due("a") for _ in range(5)] == [None] * 5
    assert complaints.suppressed_if_due("b") == 0
    await asyncio.sleep(0.25)
    assert complaints.suppressed_if_due("a") == 5
    assert complaints.suppressed_if_due("a") is None


def test_only_so_many_kinds_are_kept() -> None:
    """The oldest are forgotten, so that names that clients make up fill no memory."""
    complaints = LogThrottle()
    for number in range(5_000):
        assert complaints.suppressed_if_due(number) == 0
    assert len(complaints._entries) <= 1_000
    assert complaints.suppressed_if_due(4_999) is None
