"""Proves that the log has one line for many rejections of a kind."""

from __future__ import annotations

from gateway.system.log_throttle import LogThrottle


def test_one_line_of_a_kind_in_an_interval() -> None:
    """The first line is allowed, further ones are counted, and the next allowed one learns how many."""
    now = 0.0
    throttle = LogThrottle(interval=10.0, clock=lambda: now)
    assert throttle.suppressed_if_due("a") == 0
    assert [throttle.suppressed_if_due("a") for _ in range(5)] == [None] * 5
    assert throttle.suppressed_if_due("b") == 0
    now = 9.9
    assert throttle.suppressed_if_due("a") is None
    now = 10.0
    assert throttle.suppressed_if_due("a") == 6
    assert throttle.suppressed_if_due("a") is None


def test_the_number_of_kinds_is_bounded() -> None:
    """The least recently used are dropped, so that names invented by clients do not fill the memory."""
    throttle = LogThrottle()
    for number in range(5_000):
        assert throttle.suppressed_if_due(number) == 0
    assert len(throttle._entries) <= 1_000
    assert throttle.suppressed_if_due(4_999) is None
