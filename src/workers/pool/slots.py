"""The places of loaded models: bounded in number and memory, the least recently used gives way."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from workers.errors import LoadFailed, NoRoom, PoolClosed
from workers.metrics import UNLOADS
from workers.pool.memory_budget import Budget

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from workers.limits import Limits
    from workers.metrics import Tally
    from workers.process.forkserver import Template
    from workers.protocol.messages import ModelKey
    from workers.scheduler.worker_group import Crew

    Lack = Literal["", "room", "memory"]
    Reason = Literal["asked", "closing", "idle", "lost", "memory", "room"]

logger = logging.getLogger(__name__)

_MIB: Final = 2**20
_MEASURE_SECONDS: Final = 5.0
_BUSY_SECONDS: Final = 1.0  # until those who are too many, and were busy, are looked at again


@dataclass(eq=False, slots=True)
class Held:
    """A crew, and what must stay as long as it is there (its files).

    Whoever waited for the load comes with a job at once: until the first one does, or this short
    time is over, the crew is not the one that gives up its place.
    """

    crew: Crew
    stack: AsyncExitStack
    awaited_until: float


class Places:
    """Who is loaded, who is being loaded, and who may not be unloaded.

    `held` are loaded, and take jobs; `pinned` never give way, and neither does who is busy.
    """

    def __init__(self, limits: Limits, tally: Tally, *, template: Template) -> None:
        self._limits = limits
        self._tally = tally
        self._ending: dict[asyncio.Task[None], Crew] = {}
        self._starting: dict[ModelKey, Crew | None] = {}
        self._told_over = False
        self.budget = Budget(limits.memory_bytes, template=template, crews=self._crews)
        self.held: dict[ModelKey, Held] = {}
        self.pinned: set[ModelKey] = set()
        self.changed = asyncio.Event()
        self._other_limits = asyncio.Event()
        self.closed = False

    def change(self, limits: Limits) -> None:
        """Have other limits from now on."""
        self._limits = limits
        self.budget.change(limits.memory_bytes)
        self.changed.set()
        self._other_limits.set()

    @property
    def loading(self) -> tuple[ModelKey, ...]:
        """Those that have a place, and are not loaded yet."""
        return tuple(self._starting)

    async def reserve(self, key: ModelKey) -> None:
        """Wait for a place, which the least recently used model that is idle and not pinned gives up.

        Raises LoadFailed where the model is known to take more than there ever is for it, NoRoom where no
        place is free within the time of a request or pinned ones have it, PoolClosed.
        """
        lack: Lack = "memory"
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                while not self.closed and (lack := await self._lack(key)):
                    self.changed.clear()
                    if lack == "memory":
                        self._refuse_too_large(key)
                    if (victim := self._victim(key, lack)) is not None:
                        logger.info("%s is unloaded to make room.", victim)
                        await asyncio.wait([self.retire(victim, lack)])
                    elif self._somebody_may_go():
                        await self.changed.wait()
                    else:
                        raise self._no_room(lack)
        except TimeoutError as error:
            raise self._no_room(lack) from error
        self._require_open()
        self._starting[key] = None
        self.budget.reserve(key)

    def begin(self, key: ModelKey, crew: Crew) -> None:
        """Note whose processes are started in the place that was reserved."""
        self._starting[key] = crew

    async def settle(self, key: ModelKey, crew: Crew) -> bool:
        """Have what was loaded within the memory there is, by unloading others.

        False where others that are busy or being loaded need theirs: then it is to be ended, and loaded
        again later; what it takes is known by then. Raises as `reserve` does.
        """
        await self.budget.weigh(crew)
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                while not self.closed and await self._is_over():
                    self.changed.clear()
                    self._refuse_too_large(key)
                    if (victim := self.least_recently_used()) is not None:
                        logger.info("%s is unloaded for the memory that %s takes.", victim, key)
                        await asyncio.wait([self.retire(victim, "memory")])
                    elif key != self.loading[0]:
                        return False
                    else:
                        await self.changed.wait()
        except TimeoutError as error:
            raise self._no_room("memory") from error
        return True

    def hold(self, key: ModelKey, held: Held) -> None:
        """The model is loaded, and takes jobs."""
        self.held[key] = held

    def leave(self, key: ModelKey) -> None:
        """Loading is over, however it ended."""
        self._starting.pop(key, None)
        self.budget.release(key)
        self.changed.set()

    def least_recently_used(self) -> ModelKey | None:
        """The model that gives way first; None where all are busy, pinned or awaited."""
        return min(self._idle(), key=lambda key: self.held[key].crew.used, default=None)

    def retire(self, key: ModelKey, reason: Reason, *, drain_seconds: float = 0.0) -> asyncio.Task[None]:
        """Take no more jobs for `key`, and end its workers in a task of this room's own."""
        held = self.held.pop(key)
        self._tally.count(UNLOADS, key.name, key.version, reason)
        task = asyncio.create_task(_ended(held, drain_seconds=drain_seconds), name=f"unload {key}")
        self._ending[task] = held.crew
        task.add_done_callback(self._retired)
        return task

    def shut(self) -> None:
        """Give out no more places."""
        self.closed = True
        self.changed.set()

    async def close(self, *, drain_seconds: float) -> None:
        """Give out no more places, and end everybody's workers once they have answered."""
        self.shut()
        for key in list(self.held):
            self.retire(key, "closing", drain_seconds=drain_seconds)
        while self._ending:
            await asyncio.wait(self._ending)

    async def retire_idle(self) -> None:
        """Unload whoever nobody asks, and whoever is one too many under other limits, until cancelled."""
        while True:
            self._other_limits.clear()
            pause = _BUSY_SECONDS if self._retire_surplus() else self._retire_the_idle()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._other_limits.wait()

    def _retire_surplus(self) -> bool:
        """Unload those for whom there is no place any more; whether some are left, who are busy or pinned."""
        while (surplus := len(self.held) + len(self._starting) > self._limits.max_loaded_models) and (
            key := self.least_recently_used()
        ) is not None:
            logger.info("%s is unloaded: fewer models may be loaded now.", key)
            self.retire(key, "room")
        return surplus

    def _retire_the_idle(self) -> float | None:
        """Unload those whose time is over; the seconds until the next may be, None for never."""
        idle_seconds = self._limits.idle_seconds
        if not idle_seconds:
            return None
        now = asyncio.get_running_loop().time()
        while (key := self.least_recently_used()) is not None:
            left = self.held[key].crew.used + idle_seconds - now
            if left > 0:
                return left
            logger.info("%s is unloaded: nobody has asked for it for %g s.", key, idle_seconds)
            self.retire(key, "idle")
        return idle_seconds

    async def keep_to_budget(self) -> None:
        """Look every few seconds at what the models take, and unload as long as it is too much."""
        while True:
            await self.budget.measure()
            while self.budget.is_over() and (key := self.least_recently_used()) is not None:
                logger.info("%s is unloaded: the models have grown over the memory budget.", key)
                await asyncio.wait([self.retire(key, "memory")])
            self._tell_of_budget()
            await asyncio.sleep(_MEASURE_SECONDS)

    def _tell_of_budget(self) -> None:
        over, limit = self.budget.is_over(), self.budget.limit
        if over and not self._told_over and limit is not None:
            taken = self.budget.taken // _MIB
            message = "%d MiB are taken of a memory budget of %d MiB, and every model is busy or pinned."
            logger.warning(message, taken, limit // _MIB)
        self._told_over = over

    async def _lack(self, key: ModelKey) -> Lack:
        """What there is too little of for one more model."""
        if len(self.held) + len(self._starting) >= self._limits.max_loaded_models:
            return "room"
        if await self.budget.fits(key):
            return "room" if len(self.held) + len(self._starting) >= self._limits.max_loaded_models else ""
        return "memory"

    def _idle(self) -> list[ModelKey]:
        now = asyncio.get_running_loop().time()
        return [
            key
            for key, held in self.held.items()
            if key not in self.pinned and not held.crew.busy and held.awaited_until <= now
        ]

    def _somebody_may_go(self) -> bool:
        return bool(self._starting or self._ending) or not self.pinned.issuperset(self.held)

    def _no_room(self, lack: Lack) -> NoRoom:
        if lack == "memory":
            return NoRoom("The memory for models is taken by others, all of them busy or pinned.")
        most = self._limits.max_loaded_models
        return NoRoom(f"All {most} models that may be loaded at once are busy or pinned.")

    async def _is_over(self) -> bool:
        if self.budget.is_over():
            await self.budget.refresh()
        return self.budget.is_over()

    def _victim(self, key: ModelKey, lack: Lack) -> ModelKey | None:
        """Who gives way for `key`; nobody where all who may would not be enough."""
        if lack == "memory" and sum(
            self.held[each].crew.bytes for each in self._idle()
        ) < self.budget.lacking(key):
            return None
        return self.least_recently_used()

    def _refuse_too_large(self, key: ModelKey) -> None:
        """Raise LoadFailed where a model takes more than there is, NoRoom where pinned ones have it."""
        if self.budget.limit is None:
            return
        size, there_is = self.budget.known(key), max(0, self.budget.limit - self.budget.own)
        if size > there_is:
            told = f"The model takes {size // _MIB} MiB, more than the {there_is // _MIB} MiB"
            raise LoadFailed(f"{told} there can be for it.")
        pinned = sum(self.held[each].crew.bytes for each in self.pinned if each in self.held and each != key)
        if size > there_is - pinned:
            raise self._no_room("memory")

    def _require_open(self) -> None:
        if self.closed:
            raise PoolClosed("The gateway is shutting down.")

    def _crews(self) -> list[Crew]:
        """Everybody who has processes."""
        starting = [crew for crew in self._starting.values() if crew is not None]
        return [*(held.crew for held in self.held.values()), *starting, *self._ending.values()]

    def _retired(self, task: asyncio.Task[None]) -> None:
        del self._ending[task]
        self.changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "A model could not be unloaded in order.", "exception": error, "task": task}
            )


async def _ended(held: Held, *, drain_seconds: float) -> None:
    try:
        await held.crew.close(drain_seconds=drain_seconds)
    finally:
        await held.stack.aclose()
