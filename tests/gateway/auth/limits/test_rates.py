"""Proves that one process remembers arrivals in bounded memory."""

from __future__ import annotations

from gateway.auth.limits.gcra import NANOSECONDS, Gcra
from gateway.auth.limits.rates import LocalRates
from gateway.domain.limits import parse_rate

DAY = 86400 * NANOSECONDS
TWO = Gcra.of(parse_rate("1/s"), 2)


def admitted(rates: LocalRates, name: str, tries: int) -> int:
    return sum(rates.take(name, TWO, now=DAY)[1] == 0 for _ in range(tries))


def test_principals_do_not_share_a_rate() -> None:
    """Each has its own burst."""
    rates = LocalRates()
    assert [admitted(rates, name, 5) for name in ("a", "b", "a")] == [2, 2, 0]


def test_a_flood_of_names_is_bounded_and_gives_no_more_than_a_burst() -> None:
    """The longest unused name is forgotten and gets one burst again; one that keeps asking gets none."""
    rates = LocalRates(max_entries=100)
    assert admitted(rates, "forgotten", 5) == 2
    assert admitted(rates, "insistent", 5) == 2
    for number in range(1000):
        assert admitted(rates, f"flood {number}", 1) == 1
        assert admitted(rates, "insistent", 1) == 0
        assert len(rates) <= 100
    assert admitted(rates, "forgotten", 5) == 2


def test_a_changed_rate_keeps_what_was_used() -> None:
    """Another interval changes the unit of the times, not the time."""
    rates, thirds = LocalRates(), Gcra.of(parse_rate("3/s"), 2)
    assert admitted(rates, "a", 5) == 2
    assert rates.take("a", thirds, now=DAY)[1] > 0
    assert rates.take("a", thirds, now=DAY + NANOSECONDS // 3 + 1)[1] == 0
