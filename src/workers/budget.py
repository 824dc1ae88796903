"""The memory that loaded models may take together, and what they take of it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from workers import footprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from workers.crew import Crew
    from workers.messages import ModelKey
    from workers.template import Template

_logger = logging.getLogger("workers")

_LEAST_EXPECTED: Final = 32 * 2**20  # what is known of no model yet
_MOST_REMEMBERED: Final = 10_000
_WORTH_A_LOOK: Final = 0.5
_NEWS_SECONDS: Final = 1.0  # what was measured within this time is not measured again


class Budget:
    """Keeps account of every process of ours, in bytes of PSS, against a limit for all together.

    What a model takes is what its processes have for themselves; what they share with the template counts
    once, as ours. A model that was never loaded is expected to take what the others take on average.
    Where the system does not tell what a process takes, there is no limit.
    """

    def __init__(self, limit: int | None, *, template: Template, crews: Callable[[], Iterable[Crew]]) -> None:
        """`crews` are those that have processes now; None as limit: whatever there is."""
        self.limit = limit if footprint.can_be_told() else None
        if limit is not None and self.limit is None:
            _logger.warning("This system does not tell what a process takes: the memory budget is not kept.")
        self._template = template
        self._crews = crews
        self._own = 0
        self._sizes: dict[ModelKey, int] = {}
        self._reserved: dict[ModelKey, int] = {}
        self._measured = float("-inf")
        self._counted: set[int] = set()

    def change(self, limit: int | None) -> None:
        """Have another limit from now on."""
        self.limit = limit if footprint.can_be_told() else None

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
        here = {crew.source.key for crew in self._crews()} - self._reserved.keys()
        return self._own + sum(map(self.size, here)) + sum(self._reserved.values())

    def size(self, key: ModelKey) -> int:
        """Bytes that a model version takes, took, or can be expected to take."""
        if (known := self._sizes.get(key)) is not None:
            return known
        return max(_LEAST_EXPECTED, sum(self._sizes.values()) // max(1, len(self._sizes)))

    async def fits(self, key: ModelKey) -> bool:
        """Whether there is memory for one more model; measures anew before it says no."""
        if self.limit is None or self.taken + self.size(key) <= self.limit:
            return True
        await self.refresh()
        return self.taken + self.size(key) <= self.limit

    def reserve(self, key: ModelKey) -> None:
        """Set aside what a model that is being loaded will take."""
        self._reserved[key] = self.size(key)

    def release(self, key: ModelKey) -> None:
        """It is loaded, and counts as what it takes; or it is not going to be."""
        self._reserved.pop(key, None)

    async def weigh(self, key: ModelKey, pids: Iterable[int]) -> None:
        """Learn what a model takes that has just been loaded; and everything, where that may be much."""
        if self.limit is None:
            return
        found = await asyncio.to_thread(lambda: sum(map(footprint.private, tuple(pids))))
        self._learn(key, found)
        self._reserved[key] = found
        if self.taken > self.limit * _WORTH_A_LOOK:
            await self.refresh()

    async def refresh(self) -> None:
        """Measure, unless that was just done: with each process that goes or comes, all shares change."""
        old = asyncio.get_running_loop().time() - self._measured >= _NEWS_SECONDS
        if old or self._counted != self._pids().keys():
            await self.measure()

    async def measure(self) -> None:
        """Learn what everything takes now."""
        pids = self._pids()
        self._measured, self._counted = asyncio.get_running_loop().time(), set(pids)
        try:
            found = await asyncio.to_thread(footprint.measure, self._template.pid)
        except OSError:
            return  # no descriptor is left to look with: what was known holds on
        self._own = max(0, found.whole - sum(found.workers.values()))
        sizes: dict[ModelKey, int] = {}
        for pid, key in pids.items():
            sizes[key] = sizes.get(key, 0) + found.workers.get(pid, 0)
        for key, size in sizes.items():
            if size:
                self._learn(key, size)

    def _pids(self) -> dict[int, ModelKey]:
        return {pid: crew.source.key for crew in self._crews() for pid in crew.pids}

    def _learn(self, key: ModelKey, size: int) -> None:
        self._sizes.pop(key, None)
        self._sizes[key] = size
        if len(self._sizes) > _MOST_REMEMBERED:
            del self._sizes[next(iter(self._sizes))]
