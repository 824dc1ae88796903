"""Proves how the delay between tries grows."""

from __future__ import annotations

from workers.backoff import Backoff


def test_each_delay_is_twice_the_last_up_to_the_maximum() -> None:
    """The maximum holds for every further delay."""
    backoff = Backoff(0.5, 3.0)
    assert [backoff.next_delay() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_a_success_starts_again_at_the_initial_delay() -> None:
    """What failed before does not count any more."""
    backoff = Backoff(1.0, 8.0)
    for _ in range(3):
        backoff.next_delay()
    backoff.reset()
    assert backoff.next_delay() == 1.0
