"""Proves that one page has the metrics of all processes, and that no counter on it goes backwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.serving.phases import PHASE_DURATION
from gateway.telemetry.metrics import definitions
from gateway.telemetry.metrics.collector import MetricsCollector, SnapshotSlot
from gateway.telemetry.metrics.exposition import build_registry
from gateway.telemetry.metrics.requests import RequestCounters, RouteKey
from gateway.telemetry.metrics.shared import SharedSnapshots
from workers.metrics import BATCH_REQUESTS, COUNTER_SPECS, Counters
from workers.protocol.messages import ModelKey

if TYPE_CHECKING:
    import pytest

    from gateway.telemetry.metrics.gauges import GaugeSample

REJECTIONS = next(spec for spec in COUNTER_SPECS if spec.name == "queue_rejections")
PREDICT = RouteKey("POST", "/x", predicts=True)
KEY = ModelKey("a", "1", "")


class Process:
    """The metrics of one gateway process."""

    def __init__(self, snapshots: SharedSnapshots, number: int, *, ready: bool = True) -> None:
        self.counters, self.request_counters = Counters(), RequestCounters()
        gauges: list[GaugeSample] = [
            (definitions.READY, (), ready),
            (definitions.BUILD_INFO, ("1", "3.14", "3"), 1.0),
        ]
        slot = SnapshotSlot(snapshots, number)
        self.metrics = MetricsCollector(
            self.counters, self.request_counters, collect_gauges=lambda: gauges, slot=slot
        )

    async def page(self) -> dict[tuple[str, str], float]:
        """Return the page's values by the sample's name and its label values, joined by commas."""
        text = generate_latest(
            build_registry(await self.metrics.snapshots(), definitions.all_metrics())
        ).decode()
        return {
            (sample.name, ",".join(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


async def test_every_process_answers_for_all() -> None:
    """Counters and the histogram are sums; gauges have one value for each process."""
    snapshots = SharedSnapshots(2)
    one, two = Process(snapshots, 1), Process(snapshots, 2, ready=False)
    one.counters.increment(REJECTIONS, "a", "1")
    two.counters.increment(REJECTIONS, "a", "1", times=2)
    for process, bucket in ((one, 0), (two, 1), (two, -2)):
        histogram = process.request_counters.histogram(PREDICT, 200, key=KEY)
        histogram[bucket] += 1
        histogram[-1] += 0.5
    await one.page()
    for page in (await two.page(), await one.page()):
        assert page["gateway_queue_rejections_total", "a,1"] == 3
        assert page["gateway_http_requests_total", "200,POST,/x"] == 3
        assert page["gateway_predictions_total", "200,a,1"] == 3
        assert page["gateway_process_starts_total", ""] == 2
        assert page["gateway_prediction_duration_seconds_bucket", "2xx,0.0005"] == 1
        assert page["gateway_prediction_duration_seconds_bucket", "2xx,0.001"] == 2
        assert page["gateway_prediction_duration_seconds_bucket", "2xx,60.0"] == 2
        assert page["gateway_prediction_duration_seconds_count", "2xx"] == 3
        assert page["gateway_prediction_duration_seconds_sum", "2xx"] == 1.5
        assert (page["gateway_ready", "1"], page["gateway_ready", "2"]) == (1, 0)
        assert page["process_resident_memory_bytes", "2"] > 0


async def test_histograms_are_sums_over_the_processes() -> None:
    """Each has its own buckets, and one without labels is there before its first value."""
    snapshots = SharedSnapshots(2)
    one, two = Process(snapshots, 1), Process(snapshots, 2)
    assert (await one.page())["gateway_queue_wait_seconds_count", ""] == 0
    one.counters.observe(BATCH_REQUESTS, value=3)
    two.counters.observe(BATCH_REQUESTS, value=200)
    two.counters.observe(PHASE_DURATION, "a", "1", "load", value=0.3)
    await two.page()
    page = await one.page()
    assert [page["gateway_batch_requests_bucket", bound] for bound in ("2.0", "4.0", "256.0")] == [0, 1, 2]
    assert page["gateway_batch_requests_sum", ""] == 203
    assert page["gateway_phase_duration_seconds_bucket", "0.25,a,load,1"] == 0
    assert page["gateway_phase_duration_seconds_bucket", "0.5,a,load,1"] == 1


async def test_the_build_is_the_same_in_all_processes() -> None:
    """It has one series without a process, to be joined with others."""
    snapshots = SharedSnapshots(2)
    one, two = Process(snapshots, 1), Process(snapshots, 2)
    await two.page()
    page = await one.page()
    assert [labels for name, labels in page if name == "gateway_build_info"] == ["3,3.14,1"]


async def test_a_replacement_continues_from_the_last_totals() -> None:
    """It takes those of its own number, and no others."""
    snapshots = SharedSnapshots(2)
    first, other = Process(snapshots, 1), Process(snapshots, 2)
    first.counters.increment(REJECTIONS, "a", "1", times=5)
    await first.page()
    second = Process(snapshots, 1)
    assert (await other.page())["gateway_queue_rejections_total", "a,1"] == 5
    second.counters.increment(REJECTIONS, "a", "1")
    page = await second.page()
    assert page["gateway_queue_rejections_total", "a,1"] == 6
    assert page["gateway_process_starts_total", ""] == 3
    third = Process(snapshots, 1)
    assert (await third.page())["gateway_queue_rejections_total", "a,1"] == 6


async def test_a_process_that_stops_publishing() -> None:
    """After ten seconds the page has only its counters and its age."""
    now = 0.0
    snapshots = SharedSnapshots(2, clock=lambda: now)
    one, two = Process(snapshots, 1), Process(snapshots, 2)
    two.counters.increment(REJECTIONS, "a", "1")
    await two.page()
    now = 9.0
    assert (await one.page())["gateway_ready", "2"] == 1
    now = 11.0
    page = await one.page()
    assert {labels for name, labels in page if name == "gateway_ready"} == {"1"}
    assert page["gateway_snapshot_age_seconds", "2"] == 11
    assert page["gateway_queue_rejections_total", "a,1"] == 1


async def test_metrics_too_large_to_share(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once; each process still shows its own metrics, and the last ones of the other."""
    snapshots = SharedSnapshots(2, buffer_bytes=4096)
    one, two = Process(snapshots, 1), Process(snapshots, 2)
    one.counters.increment(REJECTIONS, "a", "1")
    await one.page()
    for number in range(200):
        one.counters.increment(REJECTIONS, "b", str(number))
    assert (await one.page())["gateway_queue_rejections_total", "b,199"] == 1
    await one.page()
    (record,) = caplog.records
    assert vars(record)["event"] == "metrics_snapshot_too_large"
    page = await two.page()
    assert page["gateway_queue_rejections_total", "a,1"] == 1
    assert ("gateway_queue_rejections_total", "b,199") not in page
