"""Strikes with a random fault every few seconds, and keeps how often and how long each lasted."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from tests.soak import faults

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from tests.soak.scene import Scene

    Fault = Callable[[Scene], Awaitable[float | None]]


@dataclass(slots=True)
class Struck:
    """How often a fault struck, and the longest time until all was well."""

    times: int = 0
    longest: float | None = None


class Trouble:
    """All the faults, one after another, though several may last at the same time."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._faults: Sequence[Fault] = faults.supported()
        self.struck: dict[str, Struck] = {}
        self.problems: list[str] = []

    @property
    def times(self) -> int:
        """How many faults there were."""
        return sum(struck.times for struck in self.struck.values())

    @asynccontextmanager
    async def on(self) -> AsyncIterator[None]:
        """Trouble, while the context lasts; at its end every fault is over."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._strike(group, stop))
            try:
                yield
            finally:
                stop.set()

    async def _strike(self, group: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        """A round of all faults in any order, then the next."""
        rng = self._scene.rng
        left: list[Fault] = []
        while not stop.is_set():
            if not left:
                left = rng.sample(self._faults, len(self._faults))
            group.create_task(self._one(left.pop()))
            try:
                async with asyncio.timeout(rng.uniform(*self._scene.options.fault_pause)):
                    await stop.wait()
            except TimeoutError:
                continue

    async def _one(self, fault: Fault) -> None:
        struck = self.struck.setdefault(fault.__name__.replace("_", " "), Struck())
        struck.times += 1
        try:
            seconds = await fault(self._scene)
        except TimeoutError:
            self.problems.append(f"{fault.__name__}: all was not well again in time")
            seconds = self._scene.options.patience
        except (AssertionError, aiohttp.ClientError, OSError, ValueError) as error:
            self.problems.append(f"{fault.__name__}: {error!r}")
            seconds = None
        if seconds is not None:
            struck.longest = max(seconds, struck.longest or 0.0)
