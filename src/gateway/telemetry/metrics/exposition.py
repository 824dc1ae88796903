"""All processes' figures in Prometheus' forms."""

from __future__ import annotations

from collections import defaultdict
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gateway.telemetry.metrics.requests import BOUNDS
from gateway.telemetry.metrics.snapshot import summed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prometheus_client import Metric

    from gateway.telemetry.metrics.definitions import Family
    from gateway.telemetry.metrics.snapshot import Snapshot

_ENDS: Final = (*map(floatToGoString, BOUNDS), "+Inf")


class Page(Collector):
    """Every family there is, whether anything of it has happened or not; one without labels is 0 then."""

    def __init__(self, snapshots: Mapping[int, Snapshot], families: Sequence[Family]) -> None:
        """`snapshots` by the number of the process."""
        self._families = families
        totals = summed(chain.from_iterable(each.totals.items() for each in snapshots.values()))
        self._rows: dict[str, list[tuple[tuple[str, ...], Sequence[float]]]] = defaultdict(list)
        for (name, labels), numbers in totals.items():
            self._rows[name].append((labels, numbers))
        for process, each in snapshots.items():
            for (name, labels), number in each.levels.items():
                self._rows[name].append(((str(process), *labels), (number,)))

    def collect(self) -> Iterator[Metric]:
        """The families, in their order."""
        for family in self._families:
            rows = self._rows.get(family.name, [])
            if not rows and not family.shown_labels:
                rows = [((), (0,))]
            yield _filled(family, sorted(rows))


def registry(snapshots: Mapping[int, Snapshot], families: Sequence[Family]) -> CollectorRegistry:
    """A registry of our own that holds nothing but the page; for one use."""
    made = CollectorRegistry()
    made.register(Page(snapshots, families))
    return made


def _filled(family: Family, rows: Sequence[tuple[tuple[str, ...], Sequence[float]]]) -> Metric:
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.meaning, labels=family.shown_labels)
        for labels, (*counts, total) in rows:
            buckets = list(zip(_ENDS, accumulate(counts), strict=True))
            histogram.add_metric(labels, buckets, total)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    made = kind(family.name, family.meaning, labels=family.shown_labels)
    for labels, (number,) in rows:
        made.add_metric(labels, number)
    return made
