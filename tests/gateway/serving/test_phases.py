"""Proves that the phases of predictions are measured by version, and that their series are bounded."""

from __future__ import annotations

import pytest

from gateway.serving.phases import MODEL_PREDICTION_DURATION, PHASE_DURATION, PhaseTimes
from workers.metrics import OTHER, Counters
from workers.protocol.messages import ModelKey


def count(counters: Counters, *labels: str) -> float:
    return sum(counters.histogram(PHASE_DURATION, *labels)[:-1])


def test_a_prediction() -> None:
    """Each phase has its own histogram; two fingerprints of one version share them."""
    counters = Counters()
    phases = PhaseTimes(counters)
    for fingerprint in ("x", "y", "x"):
        phases.record(ModelKey("a", "1", fingerprint), resolve=0.0001, queue=0.002, predict=90.0)
    resolve, queue, predict = (
        counters.histogram(PHASE_DURATION, "a", "1", phase) for phase in ("resolve", "queue", "predict")
    )
    assert (resolve[0], queue[2], predict[-2]) == (3, 3, 3)
    assert (round(resolve[-1], 4), round(queue[-1], 3), predict[-1]) == (0.0003, 0.006, 270.0)
    total = counters.histogram(MODEL_PREDICTION_DURATION, "a", "1")
    assert (total[-2], round(total[-1], 4)) == (3, 270.0063)
    assert len(counters.histograms) == 4


def test_a_request_that_waits_for_a_load() -> None:
    """A download is recorded only if there was one."""
    counters = Counters()
    phases = PhaseTimes(counters)
    phases.record_load(ModelKey("a", "1", ""), download=0.0, load=2.0)
    assert ("a", "1", "download") not in {labels for _, labels in counters.histograms}
    phases.record_load(ModelKey("a", "1", ""), download=1.0, load=2.0)
    assert [count(counters, "a", "1", phase) for phase in ("download", "load")] == [1, 2]
    phases.record(ModelKey("a", "1", ""), resolve=0.1, queue=0.2, predict=0.3, waited=3.0)
    assert counters.histogram(MODEL_PREDICTION_DURATION, "a", "1")[-1] == pytest.approx(3.6)


def test_more_than_a_hundred_versions() -> None:
    """Those in use keep their series, the sums of the others stay right, and no cell is kept in vain."""
    counters = Counters()
    phases = PhaseTimes(counters)
    for number in range(250):
        phases.record_load(ModelKey("m", str(number), ""), download=1.0, load=1.0)
        phases.record(ModelKey("m", str(number), ""), resolve=0.1, queue=0.1, predict=0.1)
        phases.record(ModelKey("used", "1", ""), resolve=0.1, queue=0.1, predict=0.1)
    versions = {labels[:2] for _, labels in counters.histograms}
    assert len(versions) == 101
    assert versions >= {OTHER, ("used", "1"), ("m", "249")}
    assert len(counters.histograms) <= 101 * 6
    assert count(counters, "used", "1", "predict") == 250
    for phase in ("resolve", "queue", "predict"):
        assert sum(count(counters, *version, phase) for version in versions) == 500
    assert sum(count(counters, *version, "load") for version in versions) == 250
    totals = [counters.histogram(MODEL_PREDICTION_DURATION, *version) for version in versions]
    assert sum(sum(cells[:-1]) for cells in totals) == 500
    phases.record(ModelKey("m", "0", ""), resolve=0.1, queue=0.1, predict=0.1)
    assert count(counters, "m", "0", "predict") == 1
