"""The memory that loaded models may take together, and what they take of it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from workers.pool import process_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from workers.process.forkserver import Template
    from workers.protocol.messages import ModelKey
    from workers.scheduler.worker_group import Crew

logger = logging.getLogger(__name__)

_LEAST_EXPECTED: Final = 32 * 2**20  # what is known of no model yet
_MOST_REMEMBERED: Final = 10_000
_WORTH_A_LOOK: Final = 0.5
_NEWS_SECONDS: Final = 1.0  # what was measured within this time is not measured again


class Budget:
    """Keeps account of every process of ours, in bytes of PSS, against a limit for all together.

    What a model takes is what its processes have for themselves; what they share with the template counts
    once, as ours. A model that was never loaded is expected to take what the others took as they were
    loaded, on average. Where the system does not tell what a process takes, there is no limit.
    """

    def __init__(self, limit: int | None, *, template: Template, crews: Callable[[], Iterable[Crew]]) -> None:
        """`crews` are those that have processes now; None as limit: whatever there is."""
        self.limit: int | None = None
        self.change(limit)
        self._template = template
        self._crews = crews
        self._own = 0
        self._at_load: dict[ModelKey, int] = {}
        self._reserved: dict[ModelKey, int] = {}
        self._measuring = asyncio.Lock()
        self._measured = float("-inf")
        self._counted: set[int] = set()

    def change(self, limit: int | None) -> None:
        """Have another limit from now on."""
        self.limit = limit if process_memory.can_be_told() else None
        if limit is not None and self.limit is None:
            logger.warning("This system does not tell what a process takes: the memory budget is not kept.")

    @property
    def own(self) -> int:
        """Bytes of the gateway's process, of the template and of what workers share with it."""
        return self._own

    def is_over(self) -> bool:
        """Whether more is taken than may be."""
        return self.limit is not None and self.taken > self.limit

    @property
    def taken(self) -> int:
        """Bytes of everything that runs, when last measured, and of what is being loaded, as expected."""
        crews = tuple(self._crews())
        starting = {crew.source.key: crew.bytes for crew in reversed(crews)}  # of two the one not ending
        awaited = sum(max(0, size - starting.get(key, 0)) for key, size in self._reserved.items())
        return self._own + sum(crew.bytes for crew in crews) + awaited

    def lacking(self, key: ModelKey) -> int:
        """Bytes that are too few for one more model."""
        return 0 if self.limit is None else max(0, self.taken + self.expected(key) - self.limit)

    def known(self, key: ModelKey) -> int:
        """Bytes that a model took when it had just been loaded; 0 where it never was."""
        return self._at_load.get(key, 0)

    def expected(self, key: ModelKey) -> int:
        """Bytes that a model will take when it is loaded; what it may grow to is not among them."""
        average = sum(self._at_load.values()) // max(1, len(self._at_load))
        return self.known(key) or max(_LEAST_EXPECTED, average)

    async def fits(self, key: ModelKey) -> bool:
        """Whether there is memory for one more model; measures anew before it says no."""
        if self.lacking(key):
            await self.refresh()
        return not self.lacking(key)

    def reserve(self, key: ModelKey) -> None:
        """Set aside what a model that is being loaded will take."""
        self._reserved[key] = self.expected(key)

    def release(self, key: ModelKey) -> None:
        """It counts as what it takes from now on; or it is not going to be loaded."""
        self._reserved.pop(key, None)

    async def weigh(self, crew: Crew) -> None:
        """Learn what a model takes that has just been loaded; and everything, where that may be much."""
        limit, pids = self.limit, tuple(crew.pids)
        if limit is None:
            return
        if found := await asyncio.to_thread(lambda: sum(map(process_memory.private, pids))):
            key = crew.source.key
            crew.bytes = found
            self.release(key)
            self._at_load.pop(key, None)
            self._at_load[key] = found
            if len(self._at_load) > _MOST_REMEMBERED:
                del self._at_load[next(iter(self._at_load))]
        if self.taken > limit * _WORTH_A_LOOK:
            await self.refresh()

    async def refresh(self) -> None:
        """Measure, unless that was just done: with each process that goes or comes, all shares change."""
        async with self._measuring:
            old = asyncio.get_running_loop().time() - self._measured >= _NEWS_SECONDS
            if old or self._counted != self._crew_of().keys():
                await self._measure()

    async def measure(self) -> None:
        """Learn what everything takes now."""
        async with self._measuring:
            await self._measure()

    async def _measure(self) -> None:
        crew_of = self._crew_of()
        self._measured, self._counted = asyncio.get_running_loop().time(), set(crew_of)
        try:
            found = await asyncio.to_thread(process_memory.measure, self._template.pid)
        except OSError:
            return  # no descriptor is left to look with: what was known holds on
        self._own = max(0, found.whole - sum(found.workers.values()))
        for crew in set(crew_of.values()):
            pids = [pid for pid, other in crew_of.items() if other is crew]
            crew.bytes = sum(found.workers.get(pid, 0) for pid in pids) or crew.bytes

    def _crew_of(self) -> dict[int, Crew]:
        """Whose each warm process is."""
        return {pid: crew for crew in self._crews() for pid in crew.pids}
