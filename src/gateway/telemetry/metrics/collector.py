"""This process' figures, and those that its siblings have written down."""

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
    from workers.metrics import Counters, CounterSpec

_PUBLISH_SECONDS: Final = 1.0
_STALE_SECONDS: Final = 10.0

logger = logging.getLogger(__name__)


class SnapshotSlot:
    """One gateway process among several, by its number from 1; alone where nothing else is said."""

    def __init__(self, snapshots: SharedSnapshots | None = None, number: int = 1) -> None:
        self.snapshots = snapshots or SharedSnapshots(1)
        self.number = number

    @property
    def peers(self) -> Sequence[int]:
        """The numbers of the other processes."""
        return [number for number in range(1, len(self.snapshots) + 1) if number != self.number]


class MetricsCollector:
    """Gathers all figures when asked; owns none of them but those of the processes before this one.

    A process that takes a dead one's seat goes on from its last totals, so that none goes backwards.
    """

    def __init__(
        self,
        counters: Counters,
        request_counters: RequestCounters,
        *,
        collect_gauges: Callable[[], Iterable[GaugeSample]],
        slot: SnapshotSlot,
    ) -> None:
        """`levels` reads the gauges."""
        self._counters = counters
        self._request_counters = request_counters
        self._collect_gauges = collect_gauges
        self._slot = slot
        self._process_collector = ProcessCollector(registry=None)
        last = slot.snapshots.read(slot.number)
        self._initial_totals = snapshot.decode(last[0]).totals if last else {}
        self._warned = False
        self._publish_lock = asyncio.Lock()
        counters.increment(definitions.PROCESS_STARTS)

    async def run(self) -> None:
        """Write this process' figures down for its siblings every second, until cancelled."""
        while self._slot.peers:
            await self._publish()
            await asyncio.sleep(_PUBLISH_SECONDS)

    async def snapshots(self) -> dict[int, Snapshot]:
        """Everybody's figures, by the number of the process; this one's are of this moment."""
        ours = await self._publish()
        ours.gauges[definitions.SNAPSHOT_AGE.name, ()] = 0.0
        others = await asyncio.to_thread(self._read_peers)
        return dict(sorted({self._slot.number: ours, **others}.items()))

    async def _publish(self) -> Snapshot:
        """This process' figures, which its siblings can read from now on.

        Numbers are copied here and put together in a thread: with many models that takes milliseconds.
        """
        async with self._publish_lock:  # or what was gathered first might be written last
            counts, traffic, levels = (
                dict(self._counters.counts),
                self._request_counters.copy(),
                list(self._collect_gauges()),
            )
            ours, content = await asyncio.to_thread(self._build, counts, traffic, levels=levels)
            if content and not self._slot.snapshots.write(self._slot.number, content):
                self._warn_once()
            return ours

    def _build(
        self,
        counts: Mapping[tuple[CounterSpec, Labels], int],
        traffic: RequestCounters,
        *,
        levels: Iterable[GaugeSample],
    ) -> tuple[Snapshot, bytes]:
        """The figures, and how they are written down where somebody reads that."""
        ours = Snapshot(
            sum_by_series(chain(self._initial_totals.items(), _current_totals(counts, traffic))),
            {(family.name, labels): float(number) for family, labels, number in levels}
            | self._process_gauges(),
        )
        return ours, ours.encode() if self._slot.peers else b""

    def _read_peers(self) -> dict[int, Snapshot]:
        found = {}
        for number in self._slot.peers:
            if last := self._slot.snapshots.read(number):
                content, age = last
                theirs = found[number] = snapshot.decode(content)
                if age > _STALE_SECONDS:
                    theirs.gauges.clear()
                theirs.gauges[definitions.SNAPSHOT_AGE.name, ()] = age
        return found

    def _warn_once(self) -> None:
        if not self._warned:
            self._warned = True
            logger.error(
                "the figures are too many to be shared: the other processes show old ones of this one"
            )

    def _process_gauges(self) -> dict[SeriesKey, float]:
        """Reads `/proc`; nothing where that is not to be had."""
        known = {family.name for family in definitions.PROCESS_METRICS}
        found = {family.name: family.samples[0].value for family in self._process_collector.collect()}
        return {(name, ()): value for name, value in found.items() if name in known}


def _current_totals(
    counts: Mapping[tuple[CounterSpec, Labels], int], traffic: RequestCounters
) -> Iterator[tuple[SeriesKey, Sequence[float]]]:
    """What was counted in this process' own time."""
    for (event, labels), count in counts.items():
        yield (_metric_name(event), labels), (count,)
    for event, requests in ((REQUESTS, traffic.requests()), (PREDICTIONS, traffic.predictions())):
        for labels, number in requests:
            yield (_metric_name(event), labels), (number,)
    for labels, cell in traffic.durations():
        yield (definitions.PREDICTION_SECONDS.name, labels), cell


@lru_cache(maxsize=256)
def _metric_name(event: CounterSpec) -> str:
    return definitions.to_metric_spec(event).name
