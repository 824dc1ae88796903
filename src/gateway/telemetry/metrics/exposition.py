"""The metrics of all processes as metric families of prometheus_client."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from functools import lru_cache
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gateway.telemetry.metrics.snapshot import sum_by_series

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prometheus_client import Metric

    from gateway.telemetry.metrics.definitions import MetricSpec
    from gateway.telemetry.metrics.snapshot import Snapshot


# prometheus_client fails on any other version, and would repeat it in its response.
_UNSUPPORTED_VERSION: Final = re.compile(r"version=(?!\d{1,3}(\.\d{1,3}){2} *([;,]|$))")


class SnapshotCollector(Collector):
    """A collector that yields every metric, also those without samples; without labels such a metric is 0."""

    def __init__(self, snapshots: Mapping[int, Snapshot], metrics: Sequence[MetricSpec]) -> None:
        """`snapshots` are by process number."""
        self._metrics = metrics
        totals = sum_by_series(chain.from_iterable(each.totals.items() for each in snapshots.values()))
        self._samples: dict[str, list[tuple[tuple[str, ...], Sequence[float]]]] = defaultdict(list)
        for (name, labels), values in totals.items():
            self._samples[name].append((labels, values))
        shared = {spec.name for spec in metrics if not spec.per_process}
        for process, snapshot in snapshots.items():
            for (name, labels), value in snapshot.gauges.items():
                if name not in shared:
                    self._samples[name].append(((str(process), *labels), (value,)))
                elif (labels, (value,)) not in self._samples[name]:
                    self._samples[name].append((labels, (value,)))

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics in the order of their definitions."""
        for spec in self._metrics:
            samples = self._samples.get(spec.name, [])
            if not samples and not spec.exposed_labels:
                samples = [((), (0,) * spec.value_count)]
            yield _to_prometheus(spec, sorted(samples))


def build_registry(snapshots: Mapping[int, Snapshot], metrics: Sequence[MetricSpec]) -> CollectorRegistry:
    """Return a registry for one page, which holds nothing but these metrics."""
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(snapshots, metrics))
    return registry


async def render(
    snapshots: Mapping[int, Snapshot], metrics: Sequence[MetricSpec], accept: str
) -> tuple[bytes, str]:
    """Return the page and its Content-Type: OpenMetrics if the `Accept` header prefers that."""
    encode, content_type = choose_encoder("" if _UNSUPPORTED_VERSION.search(accept) else accept)
    # With many models this takes milliseconds, so it must not block the event loop.
    body = await asyncio.to_thread(lambda: encode(build_registry(snapshots, metrics)))
    return body, content_type


def _to_prometheus(spec: MetricSpec, samples: Sequence[tuple[tuple[str, ...], Sequence[float]]]) -> Metric:
    if spec.kind == "histogram":
        histogram = HistogramMetricFamily(spec.name, spec.documentation, labels=spec.exposed_labels)
        for labels, (*counts, total) in samples:
            buckets = list(zip(_bucket_labels(spec.bounds), accumulate(counts), strict=True))
            histogram.add_metric(labels, buckets, total)
        return histogram
    family = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
    metric = family(spec.name, spec.documentation, labels=spec.exposed_labels)
    for labels, (value,) in samples:
        metric.add_metric(labels, value)
    return metric


@lru_cache(maxsize=16)
def _bucket_labels(bounds: tuple[float, ...]) -> tuple[str, ...]:
    return (*map(floatToGoString, bounds), "+Inf")
