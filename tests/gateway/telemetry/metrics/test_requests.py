"""Proves by what requests are counted, and that the number of model versions is bounded."""

from __future__ import annotations

from gateway.telemetry.metrics.requests import BUCKET_BOUNDS, RequestCounters, RouteKey
from workers.protocol.messages import ModelKey

PREDICT = RouteKey("POST", "/model/{name}/invocation", predicts=True)
SHOW = RouteKey("GET", "/model", predicts=False)


def test_equal_requests_share_a_histogram() -> None:
    """A version's fingerprint makes no difference; its status does, and whether a version is known."""
    counters = RequestCounters()
    histogram = counters.histogram(PREDICT, 200, key=ModelKey("a", "1", "x"))
    assert counters.histogram(PREDICT, 200, key=ModelKey("a", "1", "y")) is histogram
    assert counters.histogram(PREDICT, 503, key=ModelKey("a", "1", "x")) is not histogram
    assert counters.histogram(PREDICT, 200, key=None) is not histogram
    assert len(histogram) == len(BUCKET_BOUNDS) + 2


def test_what_is_counted() -> None:
    """Only a prediction counts for its version, and only its time is measured."""
    counters = RequestCounters()
    for seconds in (0, 3):
        counters.histogram(PREDICT, 200, key=ModelKey("a", "1", "x"))[seconds] += 1
    counters.histogram(SHOW, 200, key=ModelKey("a", "1", "x"))[0] += 1
    assert list(counters.requests()) == [
        (("POST", "/model/{name}/invocation", "200"), 2),
        (("GET", "/model", "200"), 1),
    ]
    assert list(counters.predictions()) == [(("a", "1", "200"), 2)]
    ((labels, histogram),) = counters.durations()
    assert labels == ("2xx",)
    assert (histogram[0], histogram[3]) == (1, 1)


def test_more_than_a_thousand_versions() -> None:
    """The recently used ones have counts of their own, and the sum of the others is one entry."""
    counters = RequestCounters()
    resets = 0

    def count_reset() -> None:
        nonlocal resets
        resets += 1

    counters.on_reset = count_reset
    for number in range(1_500):
        counters.histogram(PREDICT, 200, key=ModelKey("a", str(number), ""))[number % 3] += 1
        counters.histogram(PREDICT, 200, key=ModelKey("a", "7", ""))[0] += 1
    counts = dict(counters.predictions())
    assert len(counts) == 1_001
    assert counts["a", "7", "200"] == 1_501
    assert counts["a", "1499", "200"] == 1
    assert sum(counts.values()) == 3_000
    assert counts["other", "other", "200"] == resets == 500
    histograms = [histogram for _, histogram in counters.durations()]
    assert [sum(histogram[index] for histogram in histograms) for index in range(3)] == [
        500 + 1_500,
        500,
        500,
    ]
