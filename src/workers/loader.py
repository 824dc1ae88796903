"""Has models loaded in the places there are: a few at once; those that failed are not tried for a while."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from workers.crew import Crew
from workers.errors import LoadFailed, NoRoom
from workers.failures import Failures
from workers.places import Held
from workers.tally import LOADS
from workers.turns import Turns

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from contextlib import AbstractAsyncContextManager

    from workers.limits import Limits
    from workers.messages import ModelKey, ModelSource
    from workers.places import Places
    from workers.tally import Tally
    from workers.template import Template

_logger = logging.getLogger("workers")

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
            _logger.error("%s could not be loaded: %s\n%s", key, error, error.log)  # noqa: TRY400 - the worker's own trace is in it
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
            _logger.error("%s lost its last worker: %s\n%s", key, error, error.log)
            self._failures.remember(key, error)
            self._places.retire(key, "lost")
