"""Has models loaded in the places there are: a few at once; those that failed are not tried for a while."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from workers.errors import LoadFailed, NoRoom
from workers.metrics import LOADS
from workers.pool.slots import Held
from workers.scheduler.worker_group import Crew

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from concurrent.futures import Executor
    from contextlib import AbstractAsyncContextManager

    from workers.limits import Limits
    from workers.metrics import Tally
    from workers.pool.slots import Places
    from workers.process.forkserver import Template
    from workers.protocol.messages import ModelKey, ModelSource


class Turns:
    """Lets `most` begin at once; the next begins when one is done, or after `seconds` in any case.

    A storm of loads on a few cores would end none of them sooner, take all places for models at once, and
    delay the workers that take the place of dead ones, which wait for no turn.
    """

    def __init__(self, most: int, *, seconds: float) -> None:
        self._free = asyncio.Semaphore(most)
        self._seconds = seconds

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait for a turn; it is over when the context is left, or its time is."""
        await self._free.acquire()
        turn = _Turn(self._free)
        over = asyncio.get_running_loop().call_later(self._seconds, turn.end)
        try:
            yield
        finally:
            over.cancel()
            turn.end()


class _Turn:
    def __init__(self, free: asyncio.Semaphore) -> None:
        self._free: asyncio.Semaphore | None = free

    def end(self) -> None:
        """Let the next begin, once."""
        if self._free is not None:
            self._free.release()
            self._free = None


_FIRST_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 300.0
_MOST_REMEMBERED = 1_000


@dataclass(frozen=True, slots=True)
class _Failed:
    error: LoadFailed
    pause: float
    until: float


class Failures:
    """A growing pause per model version: 5 s after the first failure, doubled each time, at most 300 s."""

    def __init__(self) -> None:
        self._failed: OrderedDict[ModelKey, _Failed] = OrderedDict()

    def remember(self, key: ModelKey, error: LoadFailed) -> None:
        """Note a failed load: what it says, not the error, whose frames hold the worker and its pipes."""
        error = LoadFailed(str(error), log=error.log)
        before = self._failed.pop(key, None)
        pause = _FIRST_PAUSE_SECONDS if before is None else min(_LONGEST_PAUSE_SECONDS, before.pause * 2)
        self._failed[key] = _Failed(error, pause, asyncio.get_running_loop().time() + pause)
        if len(self._failed) > _MOST_REMEMBERED:
            self._failed.popitem(last=False)

    def forget(self, key: ModelKey) -> None:
        """Note that the model could be loaded."""
        self._failed.pop(key, None)

    def recent(self, key: ModelKey) -> LoadFailed | None:
        """The last load's failure while its pause lasts."""
        failed = self._failed.get(key)
        if failed is None or failed.until <= asyncio.get_running_loop().time():
            return None
        return failed.error


logger = logging.getLogger(__name__)

_AWAITED_SECONDS: Final = 1.0
_TRIES: Final = 3  # to load a model that others take the memory of
_TURN_SECONDS: Final = 1.0  # of a load, until the next one may begin beside it


class Loader:
    """Loads models, and remembers for a while why one could not be, or lost its last worker."""

    def __init__(
        self, limits: Limits, *, places: Places, template: Template, starter: Executor, tally: Tally
    ) -> None:
        """`starter` has the threads that wait for the template to fork."""
        self._limits = limits
        self._places = places
        self._template = template
        self._starter = starter
        self._tally = tally
        self._turns = Turns(limits.loads_at_once, seconds=_TURN_SECONDS)
        self._failures = Failures()

    def change(self, limits: Limits) -> None:
        """Have other limits for the models that are loaded from now on."""
        self._limits = limits

    def failed(self, key: ModelKey) -> LoadFailed | None:
        """Why a model cannot be loaded, as long as it is not tried again."""
        return self._failures.recent(key)

    async def load(self, key: ModelKey, files: AbstractAsyncContextManager[ModelSource]) -> None:
        """Have the model held in a place of its own.

        `files` is entered once there is room for the model, and left when the model is unloaded.
        Raises LoadFailed (remembered for a while), NoMeans, NoRoom, PoolClosed, and what `files` raises.
        """
        if failed := self.failed(key):
            raise LoadFailed(str(failed))
        try:
            await self._load(key, files)
        except LoadFailed as error:
            self._tally.count(LOADS, key.name, key.version, "failed")
            self._failures.remember(key, error)
            logger.error("%s could not be loaded: %s\n%s", key, error, error.log)
            raise
        self._tally.count(LOADS, key.name, key.version, "loaded")
        self._failures.forget(key)

    async def _load(self, key: ModelKey, files: AbstractAsyncContextManager[ModelSource]) -> None:
        places, loop = self._places, asyncio.get_running_loop()
        source: ModelSource | None = None
        async with AsyncExitStack() as stack:
            for _ in range(_TRIES):
                async with self._turns.one():
                    await places.reserve(key)
                    try:
                        if source is None:
                            source = await stack.enter_async_context(files)
                        if (crew := await self._manned(source)) is not None:
                            awaited_until = loop.time() + _AWAITED_SECONDS
                            loop.call_at(awaited_until, places.changed.set)
                            places.hold(key, Held(crew, stack.pop_all(), awaited_until))
                            return
                    finally:
                        places.leave(key)
        raise NoRoom("The memory for models is taken by others again and again.")

    async def _manned(self, source: ModelSource) -> Crew | None:
        """A crew with the model loaded; None where it gave its memory back to others."""
        crew = Crew(
            source,
            self._limits,
            template=self._template,
            starter=self._starter,
            broken=self._lose,
            idle=self._places.changed.set,
            tally=self._tally,
        )
        self._places.begin(source.key, crew)
        await crew.open()
        settled = False
        try:
            settled = await self._places.settle(source.key, crew)
            if crew.failed is not None:
                settled = False
                raise crew.failed
        finally:
            if not settled:
                await crew.close(drain_seconds=0.0)
        return crew if settled else None

    def _lose(self, crew: Crew, error: LoadFailed) -> None:
        """No worker can be had for a model any more: the next request for it loads it anew, in time."""
        key = crew.source.key
        held = self._places.held.get(key)
        if held is not None and held.crew is crew:
            logger.error("%s lost its last worker: %s\n%s", key, error, error.log)
            self._failures.remember(key, error)
            self._places.retire(key, "lost")
