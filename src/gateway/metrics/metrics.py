"""This process' figures, and those that its siblings have written down."""

from __future__ import annotations

import asyncio
import logging
from itertools import chain
from typing import TYPE_CHECKING, Final

from prometheus_client import ProcessCollector

from gateway.metrics import families, snapshot
from gateway.metrics.slates import Slates
from gateway.metrics.snapshot import Snapshot, summed
from gateway.metrics.traffic import INVOCATIONS, REQUESTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gateway.metrics.levels import Level
    from gateway.metrics.snapshot import Series
    from gateway.metrics.traffic import Traffic
    from workers.pool import Event, Tally

_EVERY_SECONDS: Final = 1.0
_LONGEST_SECONDS: Final = 10.0

_log = logging.getLogger(__name__)


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
        self, tally: Tally, traffic: Traffic, *, levels: Callable[[], Iterable[Level]], seat: Seat
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
        tally.count(families.STARTS)

    async def run(self) -> None:
        """Write this process' figures down for its siblings every second, until cancelled."""
        while self._seat.others:
            await self._written()
            await asyncio.sleep(_EVERY_SECONDS)

    async def snapshots(self) -> dict[int, Snapshot]:
        """Everybody's figures, by the number of the process; this one's are of this moment."""
        found = {self._seat.number: await self._written()}
        found[self._seat.number].levels[families.AGE.name, ()] = 0.0
        for number in self._seat.others:
            if last := self._seat.slates.read(number):
                content, age = last
                theirs = snapshot.read(content)
                if age > _LONGEST_SECONDS:
                    theirs.levels.clear()
                theirs.levels[families.AGE.name, ()] = age
                found[number] = theirs
        return dict(sorted(found.items()))

    async def _written(self) -> Snapshot:
        """This process' figures, which its siblings can read from now on."""
        process = await asyncio.to_thread(self._of_process)
        levels = {(family.name, labels): float(number) for family, labels, number in self._levels()}
        ours = Snapshot(summed(chain(self._before.items(), self._counted())), levels | process)
        if self._seat.others and not self._seat.slates.write(self._seat.number, ours.written()):
            self._tell()
        return ours

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            _log.error("the figures are too many to be shared: the other processes show old ones of this one")

    def _counted(self) -> Iterator[tuple[Series, Sequence[float]]]:
        """What was counted in this process' own time."""
        for (event, labels), count in self._tally.counts.items():
            yield (_name(event), labels), (count,)
        traffic = self._traffic
        for event, counts in ((REQUESTS, traffic.requests()), (INVOCATIONS, traffic.invocations())):
            for labels, number in counts:
                yield (_name(event), labels), (number,)
        for labels, numbers in traffic.times():
            yield (families.SECONDS.name, labels), tuple(numbers)

    def _of_process(self) -> dict[Series, float]:
        """Reads `/proc`; nothing where that is not to be had."""
        known = {family.name for family in families.PROCESS}
        found = {family.name: family.samples[0].value for family in self._process.collect()}
        return {(name, ()): value for name, value in found.items() if name in known}


def _name(event: Event) -> str:
    return families.of(event).name
