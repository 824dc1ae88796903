"""Proves what the counters count, and that their size is bounded while new versions keep coming."""

from __future__ import annotations

from workers.metrics import MODEL_LOADS, MODEL_UNLOADS, WORKER_STARTS, Counters, CounterSpec

PLAIN = CounterSpec("plain", "An event without a version.")


def test_counts() -> None:
    """Events are counted by counter and labels; a series that never changed has the value 0."""
    counters = Counters()
    counters.increment(PLAIN)
    counters.increment(MODEL_LOADS, "a", "1", "loaded", times=2)
    counters.increment(MODEL_LOADS, "a", "1", "failed")
    assert counters.value(PLAIN) == 1
    assert counters.value(MODEL_LOADS, "a", "1", "loaded") == 2
    assert counters.value(MODEL_LOADS, "a", "2", "loaded") == 0


def test_a_thousand_versions_have_series_of_their_own() -> None:
    """The latest versions and the active ones keep theirs; the sums stay correct, label by label."""
    counters = Counters()
    for number in range(1_300):
        counters.increment(WORKER_STARTS, "often", "1")
        for spec, labels in ((WORKER_STARTS, ()), (MODEL_LOADS, ("loaded",)), (MODEL_UNLOADS, ("capacity",))):
            counters.increment(spec, "nightly", str(number), *labels)
        counters.increment(PLAIN)
    assert counters.value(PLAIN) == 1_300
    assert counters.value(WORKER_STARTS, "often", "1") == 1_300
    assert counters.value(MODEL_LOADS, "nightly", "1299", "loaded") == 1
    versions = {labels[:2] for spec, labels in counters.counts if spec.by_version}
    assert len(versions) == 1_001
    for spec, labels in ((MODEL_LOADS, ("loaded",)), (MODEL_UNLOADS, ("capacity",))):
        assert counters.value(spec, "other", "other", *labels) == 301
        assert sum(times for (counted, _), times in counters.counts.items() if counted is spec) == 1_300


def test_a_version_that_comes_back() -> None:
    """A version whose counts were merged into the others' starts again at 0."""
    counters = Counters()
    for number in range(1_100):
        counters.increment(WORKER_STARTS, "a", str(number))
    assert counters.value(WORKER_STARTS, "a", "0") == 0
    counters.increment(WORKER_STARTS, "a", "0")
    assert counters.value(WORKER_STARTS, "a", "0") == 1
