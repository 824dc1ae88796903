"""Proves that several processes' figures become one page, from which no counter goes backwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.metrics import definitions
from gateway.telemetry.metrics.collector import MetricsCollector, SnapshotSlot
from gateway.telemetry.metrics.exposition import build_registry
from gateway.telemetry.metrics.requests import RequestCounters, RouteKey
from gateway.telemetry.metrics.shared import SharedSnapshots
from workers.metrics import COUNTER_SPECS, Counters
from workers.protocol.messages import ModelKey

if TYPE_CHECKING:
    import pytest

    from gateway.telemetry.metrics.gauges import GaugeSample

REFUSALS = next(event for event in COUNTER_SPECS if event.name == "queue_refusals")
INVOKE = RouteKey("POST", "/x", predicts=True)
KEY = ModelKey("a", "1", "")


class Process:
    """What one process has of metrics."""

    def __init__(self, slates: SharedSnapshots, number: int, *, ready: bool = True) -> None:
        self.tally, self.traffic = Counters(), RequestCounters()
        level: GaugeSample = (definitions.READY, (), ready)
        seat = SnapshotSlot(slates, number)
        self.metrics = MetricsCollector(self.tally, self.traffic, collect_gauges=lambda: [level], slot=seat)

    async def shows(self) -> dict[tuple[str, str], float]:
        """The page: values by the sample's name and its labels' values, apart by commas."""
        page = generate_latest(
            build_registry(await self.metrics.snapshots(), definitions.all_metrics())
        ).decode()
        return {
            (sample.name, ",".join(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }


async def test_whoever_is_asked_answers_for_all() -> None:
    """Counters and the histogram are summed; gauges are each process' own."""
    slates = SharedSnapshots(2)
    one, two = Process(slates, 1), Process(slates, 2, ready=False)
    one.tally.increment(REFUSALS, "a", "1")
    two.tally.increment(REFUSALS, "a", "1", times=2)
    for process, bucket in ((one, 0), (two, 1), (two, -2)):
        cell = process.traffic.histogram(INVOKE, 200, key=KEY)
        cell[bucket] += 1
        cell[-1] += 0.5
    await one.shows()
    for shown in (await two.shows(), await one.shows()):
        assert shown["gateway_queue_refusals_total", "a,1"] == 3
        assert shown["gateway_requests_total", "POST,/x,200"] == 3
        assert shown["gateway_invocations_total", "a,200,1"] == 3
        assert shown["gateway_process_starts_total", ""] == 2
        assert shown["gateway_invocation_seconds_bucket", "0.001,2xx"] == 1
        assert shown["gateway_invocation_seconds_bucket", "0.0025,2xx"] == 2
        assert shown["gateway_invocation_seconds_bucket", "60.0,2xx"] == 2
        assert shown["gateway_invocation_seconds_count", "2xx"] == 3
        assert shown["gateway_invocation_seconds_sum", "2xx"] == 1.5
        assert (shown["gateway_ready", "1"], shown["gateway_ready", "2"]) == (1, 0)
        assert shown["process_resident_memory_bytes", "2"] > 0


async def test_the_next_one_goes_on_from_the_last_totals() -> None:
    """Of its own seat, and of that alone."""
    slates = SharedSnapshots(2)
    first, other = Process(slates, 1), Process(slates, 2)
    first.tally.increment(REFUSALS, "a", "1", times=5)
    await first.shows()
    second = Process(slates, 1)
    assert (await other.shows())["gateway_queue_refusals_total", "a,1"] == 5
    second.tally.increment(REFUSALS, "a", "1")
    shown = await second.shows()
    assert shown["gateway_queue_refusals_total", "a,1"] == 6
    assert shown["gateway_process_starts_total", ""] == 3
    third = Process(slates, 1)
    assert (await third.shows())["gateway_queue_refusals_total", "a,1"] == 6


async def test_one_that_writes_no_more() -> None:
    """After ten seconds its counts and its age are all that is shown of it."""
    now = 0.0
    slates = SharedSnapshots(2, clock=lambda: now)
    one, two = Process(slates, 1), Process(slates, 2)
    two.tally.increment(REFUSALS, "a", "1")
    await two.shows()
    now = 9.0
    assert (await one.shows())["gateway_ready", "2"] == 1
    now = 11.0
    shown = await one.shows()
    assert {labels for name, labels in shown if name == "gateway_ready"} == {"1"}
    assert shown["gateway_snapshot_age_seconds", "2"] == 11
    assert shown["gateway_queue_refusals_total", "a,1"] == 1


async def test_more_than_a_slate_takes(caplog: pytest.LogCaptureFixture) -> None:
    """It is said once; whoever is asked still shows its own, and what it last had of the other."""
    slates = SharedSnapshots(2, buffer_bytes=4096)
    one, two = Process(slates, 1), Process(slates, 2)
    one.tally.increment(REFUSALS, "a", "1")
    await one.shows()
    for number in range(200):
        one.tally.increment(REFUSALS, "b", str(number))
    assert (await one.shows())["gateway_queue_refusals_total", "b,199"] == 1
    await one.shows()
    assert [record.message for record in caplog.records if "too many" in record.message] == [
        "the figures are too many to be shared: the other processes show old ones of this one"
    ]
    shown = await two.shows()
    assert shown["gateway_queue_refusals_total", "a,1"] == 1
    assert ("gateway_queue_refusals_total", "b,199") not in shown
