"""All processes' figures in Prometheus' forms."""

from __future__ import annotations

from collections import defaultdict
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gateway.telemetry.metrics.requests import BUCKET_BOUNDS
from gateway.telemetry.metrics.snapshot import sum_by_series

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prometheus_client import Metric

    from gateway.telemetry.metrics.definitions import MetricSpec
    from gateway.telemetry.metrics.snapshot import Snapshot

_BUCKET_LABELS: Final = (*map(floatToGoString, BUCKET_BOUNDS), "+Inf")


class SnapshotCollector(Collector):
    """Every family there is, whether anything of it has happened or not; one without labels is 0 then."""

    def __init__(self, snapshots: Mapping[int, Snapshot], families: Sequence[MetricSpec]) -> None:
        """`snapshots` by the number of the process."""
        self._metrics = families
        totals = sum_by_series(chain.from_iterable(each.totals.items() for each in snapshots.values()))
        self._samples: dict[str, list[tuple[tuple[str, ...], Sequence[float]]]] = defaultdict(list)
        for (name, labels), numbers in totals.items():
            self._samples[name].append((labels, numbers))
        for process, each in snapshots.items():
            for (name, labels), number in each.gauges.items():
                self._samples[name].append(((str(process), *labels), (number,)))

    def collect(self) -> Iterator[Metric]:
        """The families, in their order."""
        for family in self._metrics:
            rows = self._samples.get(family.name, [])
            if not rows and not family.exposed_labels:
                rows = [((), (0,))]
            yield _to_prometheus(family, sorted(rows))


def build_registry(snapshots: Mapping[int, Snapshot], families: Sequence[MetricSpec]) -> CollectorRegistry:
    """A registry of our own that holds nothing but the page; for one use."""
    made = CollectorRegistry()
    made.register(SnapshotCollector(snapshots, families))
    return made


def _to_prometheus(family: MetricSpec, rows: Sequence[tuple[tuple[str, ...], Sequence[float]]]) -> Metric:
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.documentation, labels=family.exposed_labels)
        for labels, (*counts, total) in rows:
            buckets = list(zip(_BUCKET_LABELS, accumulate(counts), strict=True))
            histogram.add_metric(labels, buckets, total)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    made = kind(family.name, family.documentation, labels=family.exposed_labels)
    for labels, (number,) in rows:
        made.add_metric(labels, number)
    return made
