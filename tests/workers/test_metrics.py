"""Proves what is counted, and that a year of new versions does not grow without end."""

from __future__ import annotations

from workers.metrics import LOADS, UNLOADS, WORKER_STARTS, Event, Tally

PLAIN = Event("plain", "Something that has no version.")


def test_counts() -> None:
    """By event and labels; what never happened happened zero times."""
    tally = Tally()
    tally.count(PLAIN)
    tally.count(LOADS, "a", "1", "loaded", times=2)
    tally.count(LOADS, "a", "1", "failed")
    assert (tally.of(PLAIN), tally.of(LOADS, "a", "1", "loaded"), tally.of(LOADS, "a", "2", "loaded")) == (
        1,
        2,
        0,
    )


def test_a_thousand_versions_are_told_apart() -> None:
    """The latest, and those something goes on being counted of; the sums stay true, label by label."""
    tally = Tally()
    for number in range(1_300):
        tally.count(WORKER_STARTS, "often", "1")
        for event, more in ((WORKER_STARTS, ()), (LOADS, ("loaded",)), (UNLOADS, ("room",))):
            tally.count(event, "nightly", str(number), *more)
        tally.count(PLAIN)
    assert tally.of(PLAIN) == 1_300
    assert tally.of(WORKER_STARTS, "often", "1") == 1_300
    assert tally.of(LOADS, "nightly", "1299", "loaded") == 1
    told_apart = {labels[:2] for event, labels in tally.counts if event.by_version}
    assert len(told_apart) == 1_001
    for event, more in ((LOADS, ("loaded",)), (UNLOADS, ("room",))):
        assert tally.of(event, "other", "other", *more) == 301
        assert sum(times for (counted, _), times in tally.counts.items() if counted is event) == 1_300


def test_a_version_that_comes_back() -> None:
    """It is told apart again, from nothing on."""
    tally = Tally()
    for number in range(1_100):
        tally.count(WORKER_STARTS, "a", str(number))
    assert tally.of(WORKER_STARTS, "a", "0") == 0
    tally.count(WORKER_STARTS, "a", "0")
    assert tally.of(WORKER_STARTS, "a", "0") == 1
