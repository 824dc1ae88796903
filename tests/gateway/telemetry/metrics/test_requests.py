"""Proves how requests are told apart, and that there are only so many kinds of them."""

from __future__ import annotations

from gateway.telemetry.metrics.requests import BUCKET_BOUNDS, RequestCounters, RouteKey
from workers.protocol.messages import ModelKey

INVOKE = RouteKey("POST", "/model/{name}/invocation", predicts=True)
SHOW = RouteKey("GET", "/model", predicts=False)


def test_the_same_is_counted_in_one_place() -> None:
    """Whatever asks for it, and whichever fingerprint a version has."""
    traffic = RequestCounters()
    cell = traffic.histogram(INVOKE, 200, key=ModelKey("a", "1", "x"))
    assert traffic.histogram(INVOKE, 200, key=ModelKey("a", "1", "y")) is cell
    assert traffic.histogram(INVOKE, 503, key=ModelKey("a", "1", "x")) is not cell
    assert traffic.histogram(INVOKE, 200, key=None) is not cell
    assert len(cell) == len(BUCKET_BOUNDS) + 2


def test_what_is_read() -> None:
    """A version counts where a request was to predict, its time likewise."""
    traffic = RequestCounters()
    for seconds in (0, 3):
        traffic.histogram(INVOKE, 200, key=ModelKey("a", "1", "x"))[seconds] += 1
    traffic.histogram(SHOW, 200, key=ModelKey("a", "1", "x"))[0] += 1
    assert list(traffic.requests()) == [
        (("POST", "/model/{name}/invocation", "200"), 2),
        (("GET", "/model", "200"), 1),
    ]
    assert list(traffic.predictions()) == [(("a", "1", "200"), 2)]
    ((labels, cell),) = traffic.durations()
    assert labels == ("2xx",)
    assert (cell[0], cell[3]) == (1, 1)


def test_a_thousand_versions_are_enough() -> None:
    """Those asked of late have counts of their own, what the others had is in one; nothing is lost."""
    traffic = RequestCounters()
    forgotten = 0

    def note() -> None:
        nonlocal forgotten
        forgotten += 1

    traffic.on_reset = note
    for number in range(1_500):
        traffic.histogram(INVOKE, 200, key=ModelKey("a", str(number), ""))[number % 3] += 1
        traffic.histogram(INVOKE, 200, key=ModelKey("a", "7", ""))[0] += 1
    counts = dict(traffic.predictions())
    assert len(counts) == 1_001
    assert counts["a", "7", "200"] == 1_501
    assert counts["a", "1499", "200"] == 1
    assert sum(counts.values()) == 3_000
    assert counts["other", "other", "200"] == forgotten == 500
    cells = [cell for _, cell in traffic.durations()]
    assert [sum(cell[index] for cell in cells) for index in range(3)] == [500 + 1_500, 500, 500]
