"""Proves what is counted, and that a year of new versions does not grow without end."""

from __future__ import annotations

from workers.metrics import MODEL_LOADS, MODEL_UNLOADS, WORKER_STARTS, Counters, CounterSpec

PLAIN = CounterSpec("plain", "Something that has no version.")


def test_counts() -> None:
    """By event and labels; what never happened happened zero times."""
    tally = Counters()
    tally.increment(PLAIN)
    tally.increment(MODEL_LOADS, "a", "1", "loaded", times=2)
    tally.increment(MODEL_LOADS, "a", "1", "failed")
    assert (
        tally.value(PLAIN),
        tally.value(MODEL_LOADS, "a", "1", "loaded"),
        tally.value(MODEL_LOADS, "a", "2", "loaded"),
    ) == (
        1,
        2,
        0,
    )


def test_a_thousand_versions_are_told_apart() -> None:
    """The latest, and those something goes on being counted of; the sums stay true, label by label."""
    tally = Counters()
    for number in range(1_300):
        tally.increment(WORKER_STARTS, "often", "1")
        for event, more in ((WORKER_STARTS, ()), (MODEL_LOADS, ("loaded",)), (MODEL_UNLOADS, ("room",))):
            tally.increment(event, "nightly", str(number), *more)
        tally.increment(PLAIN)
    assert tally.value(PLAIN) == 1_300
    assert tally.value(WORKER_STARTS, "often", "1") == 1_300
    assert tally.value(MODEL_LOADS, "nightly", "1299", "loaded") == 1
    told_apart = {labels[:2] for event, labels in tally.counts if event.by_version}
    assert len(told_apart) == 1_001
    for event, more in ((MODEL_LOADS, ("loaded",)), (MODEL_UNLOADS, ("room",))):
        assert tally.value(event, "other", "other", *more) == 301
        assert sum(times for (counted, _), times in tally.counts.items() if counted is event) == 1_300


def test_a_version_that_comes_back() -> None:
    """It is told apart again, from nothing on."""
    tally = Counters()
    for number in range(1_100):
        tally.increment(WORKER_STARTS, "a", str(number))
    assert tally.value(WORKER_STARTS, "a", "0") == 0
    tally.increment(WORKER_STARTS, "a", "0")
    assert tally.value(WORKER_STARTS, "a", "0") == 1
