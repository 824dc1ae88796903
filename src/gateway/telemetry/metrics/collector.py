"""This process' figures, and those that its siblings have written down."""

from __future__ import annotations

import asyncio
import logging
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Final

from prometheus_client import ProcessCollector

from gateway.telemetry.metrics import definitions, snapshot
from gateway.telemetry.metrics.requests import INVOCATIONS, REQUESTS
from gateway.telemetry.metrics.shared import Slates
from gateway.telemetry.metrics.snapshot import Snapshot, summed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from gateway.telemetry.metrics.gauges import Level
    from gateway.telemetry.metrics.requests import Labels, Traffic
    from gateway.telemetry.metrics.snapshot import Series
    from workers.metrics import CounterSpec, Counters

_EVERY_SECONDS: Final = 1.0
_LONGEST_SECONDS: Final = 10.0

logger = logging.getLogger(__name__)


class Seat:
    """One gateway process among several, by its number from 1; alone where nothing else is said."""

    def __init__(self, slates: Slates | None = None, number: int = 1) -> None:
        self.slates = slates or Slates(1)
        self.number = number

    @property
    def others(self) -> Sequence[int]:
        """The numbers of the other processes."""
        return [number for number in range(1, len(self.slates) + 1) if number != self.number]


class Metrics:
    """Gathers all figures when asked; owns none of them but those of the processes before this one.

    A process that takes a dead one's seat goes on from its last totals, so that none goes backwards.
    """

    def __init__(
        self, tally: Counters, traffic: Traffic, *, levels: Callable[[], Iterable[Level]], seat: Seat
    ) -> None:
        """`levels` reads the gauges."""
        self._tally = tally
        self._traffic = traffic
        self._levels = levels
        self._seat = seat
        self._process = ProcessCollector(registry=None)
        last = seat.slates.read(seat.number)
        self._before = snapshot.read(last[0]).totals if last else {}
        self._told = False
        self._turn = asyncio.Lock()
        tally.increment(definitions.STARTS)

    async def run(self) -> None:
        """Write this process' figures down for its siblings every second, until cancelled."""
        while self._seat.others:
            await self._written()
            await asyncio.sleep(_EVERY_SECONDS)

    async def snapshots(self) -> dict[int, Snapshot]:
        """Everybody's figures, by the number of the process; this one's are of this moment."""
        ours = await self._written()
        ours.levels[definitions.AGE.name, ()] = 0.0
        others = await asyncio.to_thread(self._others)
        return dict(sorted({self._seat.number: ours, **others}.items()))

    async def _written(self) -> Snapshot:
        """This process' figures, which its siblings can read from now on.

        Numbers are copied here and put together in a thread: with many models that takes milliseconds.
        """
        async with self._turn:  # or what was gathered first might be written last
            counts, traffic, levels = dict(self._tally.counts), self._traffic.copy(), list(self._levels())
            ours, content = await asyncio.to_thread(self._together, counts, traffic, levels=levels)
            if content and not self._seat.slates.write(self._seat.number, content):
                self._tell()
            return ours

    def _together(
        self, counts: Mapping[tuple[CounterSpec, Labels], int], traffic: Traffic, *, levels: Iterable[Level]
    ) -> tuple[Snapshot, bytes]:
        """The figures, and how they are written down where somebody reads that."""
        ours = Snapshot(
            summed(chain(self._before.items(), _counted(counts, traffic))),
            {(family.name, labels): float(number) for family, labels, number in levels} | self._of_process(),
        )
        return ours, ours.written() if self._seat.others else b""

    def _others(self) -> dict[int, Snapshot]:
        found = {}
        for number in self._seat.others:
            if last := self._seat.slates.read(number):
                content, age = last
                theirs = found[number] = snapshot.read(content)
                if age > _LONGEST_SECONDS:
                    theirs.levels.clear()
                theirs.levels[definitions.AGE.name, ()] = age
        return found

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            logger.error(
                "the figures are too many to be shared: the other processes show old ones of this one"
            )

    def _of_process(self) -> dict[Series, float]:
        """Reads `/proc`; nothing where that is not to be had."""
        known = {family.name for family in definitions.PROCESS}
        found = {family.name: family.samples[0].value for family in self._process.collect()}
        return {(name, ()): value for name, value in found.items() if name in known}


def _counted(
    counts: Mapping[tuple[CounterSpec, Labels], int], traffic: Traffic
) -> Iterator[tuple[Series, Sequence[float]]]:
    """What was counted in this process' own time."""
    for (event, labels), count in counts.items():
        yield (_name(event), labels), (count,)
    for event, requests in ((REQUESTS, traffic.requests()), (INVOCATIONS, traffic.invocations())):
        for labels, number in requests:
            yield (_name(event), labels), (number,)
    for labels, cell in traffic.times():
        yield (definitions.SECONDS.name, labels), cell


@lru_cache(maxsize=256)
def _name(event: CounterSpec) -> str:
    return definitions.of(event).name
