"""Collection of this process' metrics, and of those that the other gateway processes published."""

from __future__ import annotations

import asyncio
import logging
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Final

from prometheus_client import ProcessCollector

from gateway.telemetry.metrics import definitions, snapshot
from gateway.telemetry.metrics.requests import PREDICTIONS, REQUESTS
from gateway.telemetry.metrics.shared import SharedSnapshots
from gateway.telemetry.metrics.snapshot import Snapshot, sum_by_series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from gateway.telemetry.metrics.gauges import GaugeSample
    from gateway.telemetry.metrics.requests import Labels, RequestCounters
    from gateway.telemetry.metrics.snapshot import SeriesKey
    from workers.metrics import Cells, Counters, CounterSpec, HistogramSeries

_PUBLISH_SECONDS: Final = 1.0
_STALE_SECONDS: Final = 10.0

logger = logging.getLogger(__name__)


class SnapshotSlot:
    """The place of one process among several, by its number from 1; by default it is the only one."""

    def __init__(
        self,
        snapshots: SharedSnapshots | None = None,
        number: int = 1,
        *,
        history: SharedSnapshots | None = None,
        events: SharedSnapshots | None = None,
        states: SharedSnapshots | None = None,
        node_number: int | None = None,
    ) -> None:
        """`snapshots` are of the metrics; `history` and `events` have the rings of these names.

        `states` has what the pages show of each process. `node_number` is of the process that holds the
        models for all others; None if this one holds its own.
        """
        self.snapshots = snapshots or SharedSnapshots(1)
        self.history = history or SharedSnapshots(len(self.snapshots))
        self.events = events or SharedSnapshots(len(self.snapshots))
        self.states = states or SharedSnapshots(len(self.snapshots))
        self.number = number
        self.node_number = node_number

    @property
    def holds_models(self) -> bool:
        """Whether the models are in this process, and not in another one of this machine."""
        return self.node_number in {None, self.number}

    @property
    def peers(self) -> Sequence[int]:
        """The numbers of the other processes."""
        return [number for number in range(1, len(self.snapshots) + 1) if number != self.number]


class MetricsCollector:
    """A collector that reads all metrics on demand, and publishes them for the other gateway processes.

    A process that replaces a dead one continues from its last totals, so that no counter goes backwards.
    """

    def __init__(
        self,
        counters: Counters,
        request_counters: RequestCounters,
        *,
        collect_gauges: Callable[[], Iterable[GaugeSample]],
        slot: SnapshotSlot,
    ) -> None:
        """`collect_gauges` reads the gauges."""
        self._counters = counters
        self._request_counters = request_counters
        self._collect_gauges = collect_gauges
        self._slot = slot
        self._process_collector = ProcessCollector(registry=None)
        stored = slot.snapshots.read(slot.number)
        self._initial_totals = snapshot.decode(stored[0]).totals if stored else {}
        self._too_large_logged = False
        self._publish_lock = asyncio.Lock()
        counters.increment(definitions.PROCESS_STARTS)

    async def run(self) -> None:
        """Publish this process' metrics every second; return at once if there is no other process."""
        while self._slot.peers:
            await self._publish()
            await asyncio.sleep(_PUBLISH_SECONDS)

    async def snapshots(self) -> dict[int, Snapshot]:
        """Return the metrics of all processes by process number; those of this process are current."""
        own = await self._publish()
        own.gauges[definitions.SNAPSHOT_AGE.name, ()] = 0.0
        peers = await asyncio.to_thread(self._read_peers)
        return dict(sorted({self._slot.number: own, **peers}.items()))

    async def _publish(self) -> Snapshot:
        """Collect this process' metrics, publish them, and return them.

        Only the copies are made on the event loop: with many models the rest takes milliseconds.
        """
        async with self._publish_lock:  # an older snapshot must not overwrite a newer one
            counts, requests = dict(self._counters.counts), self._request_counters.copy()
            histograms = {series: cells.copy() for series, cells in self._counters.histograms.items()}
            gauges = list(self._collect_gauges())
            own, content = await asyncio.to_thread(
                self._build, counts, requests, histograms=histograms, gauges=gauges
            )
            if content and not self._slot.snapshots.write(self._slot.number, content):
                self._log_too_large_once(len(content))
            return own

    def _build(
        self,
        counts: Mapping[tuple[CounterSpec, Labels], int],
        requests: RequestCounters,
        *,
        histograms: Mapping[HistogramSeries, Cells],
        gauges: Iterable[GaugeSample],
    ) -> tuple[Snapshot, bytes]:
        """Return the snapshot, and its encoded form if there are other processes to read it."""
        current = chain(_current_totals(counts, requests), _current_histograms(histograms))
        own = Snapshot(
            sum_by_series(chain(self._initial_totals.items(), current)),
            {(spec.name, labels): float(value) for spec, labels, value in gauges} | self._process_gauges(),
        )
        return own, own.encode() if self._slot.peers else b""

    def _read_peers(self) -> dict[int, Snapshot]:
        snapshots = {}
        for number in self._slot.peers:
            if stored := self._slot.snapshots.read(number):
                content, age = stored
                peer = snapshots[number] = snapshot.decode(content)
                if age > _STALE_SECONDS:
                    peer.gauges.clear()
                peer.gauges[definitions.SNAPSHOT_AGE.name, ()] = age
        return snapshots

    def _log_too_large_once(self, size: int) -> None:
        if not self._too_large_logged:
            self._too_large_logged = True
            logger.error(
                "The metrics of this process are too large to share (%d bytes);"
                " other processes show outdated ones",
                size,
                extra={"event": "metrics_snapshot_too_large", "bytes": size},
            )

    def _process_gauges(self) -> dict[SeriesKey, float]:
        """Read the process' metrics from `/proc`; return none on systems without it."""
        known = {spec.name for spec in definitions.PROCESS_METRICS}
        values = {metric.name: metric.samples[0].value for metric in self._process_collector.collect()}
        return {(name, ()): value for name, value in values.items() if name in known}


def _current_totals(
    counts: Mapping[tuple[CounterSpec, Labels], int], requests: RequestCounters
) -> Iterator[tuple[SeriesKey, Sequence[float]]]:
    """Yield what was counted since this process started."""
    for (spec, labels), count in counts.items():
        yield (_metric_name(spec), labels), (count,)
    for spec, totals in ((REQUESTS, requests.requests()), (PREDICTIONS, requests.predictions())):
        for labels, total in totals:
            yield (_metric_name(spec), labels), (total,)
    for labels, histogram in requests.durations():
        yield (definitions.PREDICTION_DURATION.name, labels), histogram


def _current_histograms(
    histograms: Mapping[HistogramSeries, Cells],
) -> Iterator[tuple[SeriesKey, Sequence[float]]]:
    for (spec, labels), cells in histograms.items():
        yield (f"gateway_{spec.name}", labels), cells


@lru_cache(maxsize=256)
def _metric_name(spec: CounterSpec) -> str:
    return definitions.to_metric_spec(spec).name
