"""Every loaded model version, by key: bounded in number, idle ones retired; the package's only door."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from workers.crew import Crew
from workers.errors import (
    AnswerRefused,
    InputRefused,
    LoadFailed,
    ModelFailed,
    NoRoom,
    NotLoaded,
    OutOfTime,
    Pinned,
    PoolClosed,
    QueueFull,
    StreamRefused,
    TypeRefused,
    WorkerDied,
    WorkerError,
)
from workers.failures import Failures
from workers.limits import Limits
from workers.messages import (
    ARROW,
    CSV,
    JSON,
    OPEN_INFERENCE,
    PARQUET,
    Batching,
    Cell,
    InputChecks,
    Job,
    Merging,
    ModelKey,
    ModelSource,
    Reply,
)
from workers.stream import Stream
from workers.tally import EVENTS, LOADS, UNLOADS, Event, Tally
from workers.template import Template

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

__all__ = [
    "ARROW",
    "CSV",
    "EVENTS",
    "JSON",
    "OPEN_INFERENCE",
    "PARQUET",
    "AnswerRefused",
    "Batching",
    "Cell",
    "Event",
    "InputChecks",
    "InputRefused",
    "Job",
    "Limits",
    "LoadFailed",
    "ModelFailed",
    "ModelKey",
    "ModelSource",
    "NoRoom",
    "NotLoaded",
    "OutOfTime",
    "Pinned",
    "Pool",
    "PoolClosed",
    "QueueFull",
    "Reply",
    "State",
    "Stream",
    "StreamRefused",
    "Tally",
    "TypeRefused",
    "WorkerDied",
    "WorkerError",
]

_logger = logging.getLogger("workers")
_AWAITED_SECONDS = 1.0
_STARTERS = 4  # threads that wait for the template to fork


@dataclass(frozen=True, slots=True)
class State:
    """How a version is served here.

    `workers` are its warm processes, `merging` says whether rows of several requests share a call of
    the model there, `reason` why it failed; `waiting` and `running` are the requests there.
    """

    state: Literal["cold", "loading", "warm", "failed"]
    workers: int = 0
    reason: str | None = None
    merging: Merging | None = None
    waiting: int = 0
    running: int = 0


@dataclass(eq=False, slots=True)
class _Held:
    """A crew, and what must stay as long as it is there (its files).

    Whoever waited for the load comes with a job at once: until the first one does, or this short
    time is over, the crew is not the one that gives up its place.
    """

    crew: Crew
    stack: AsyncExitStack
    awaited_until: float


class Pool:
    """Warm workers keyed by model name, version and fingerprint. Used from one event loop."""

    def __init__(
        self, limits: Limits, *, environment: Mapping[str, str] | None = None, tally: Tally | None = None
    ) -> None:
        """`environment` is all that the workers see of it; None leaves them this process' own.

        `tally` is where what happens is counted.
        """
        self._limits = limits
        self.tally = tally or Tally()
        self._template = Template(environment)
        self._starter = ThreadPoolExecutor(_STARTERS, thread_name_prefix="worker-start")
        self._held: dict[ModelKey, _Held] = {}
        self._loading: set[ModelKey] = set()
        self._pinned: set[ModelKey] = set()
        self._failures = Failures()
        self._closing: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._closed = False
        self._sweeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start the template, which goes on importing behind; and the retiring of idle models."""
        self._template.ensure_running()
        if self._limits.idle_seconds > 0:
            self._sweeper = asyncio.create_task(self._retire_idle())

    async def close(self, *, drain_seconds: float) -> None:
        """Take no more jobs, answer those there are for as long as `drain_seconds`, end every process."""
        self._closed = True
        self._changed.set()
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        for key in list(self._held):
            self._retire(key, "asked", drain_seconds=drain_seconds)
        while self._closing:
            await asyncio.wait(self._closing)
        await asyncio.to_thread(self._starter.shutdown, cancel_futures=True)

    def is_warm(self, key: ModelKey) -> bool:
        """Whether `predict` can be called for `key`."""
        return key in self._held

    def state(self, key: ModelKey) -> State:
        """How the version is served now."""
        if key in self._held:
            crew = self._held[key].crew
            merging, waiting, running = crew.loaded.merging, crew.waiting, crew.running
            return State("warm", crew.workers, merging=merging, waiting=waiting, running=running)
        if key in self._loading:
            return State("loading")
        if failed := self._failures.recent(key):
            return State("failed", reason=str(failed))
        return State("cold")

    def states(self) -> dict[ModelKey, State]:
        """How each version is served that is loaded or being loaded."""
        return {key: self.state(key) for key in (*self._held, *self._loading)}

    def pin(self, key: ModelKey) -> None:
        """Never retire or evict `key`, once it is loaded."""
        self._pinned.add(key)

    def unpin(self, key: ModelKey) -> None:
        """Let `key` be retired and evicted again."""
        self._pinned.discard(key)

    async def predict(self, key: ModelKey, job: Job) -> Reply:
        """The reply of the version loaded as `key`.

        Raises NotLoaded, QueueFull, OutOfTime, InputRefused, TypeRefused, ModelFailed, WorkerDied,
        PoolClosed.
        """
        return await self._crew(key).predict(job)

    async def stream(self, key: ModelKey, job: Job) -> Stream:
        """The same answer in chunks, of which the first is there; the caller closes the stream.

        The model counts as busy until then. Raises StreamRefused, and what `predict` raises.
        """
        return await self._crew(key).stream(job)

    def _crew(self, key: ModelKey) -> Crew:
        held = self._held.get(key)
        if held is None:
            if self._closed:
                raise PoolClosed("The gateway is shutting down.")
            raise NotLoaded(f"{key} is not loaded.")
        held.awaited_until = 0.0
        return held.crew

    async def load(self, key: ModelKey, files: AbstractAsyncContextManager[ModelSource]) -> None:
        """Have the version's workers warm; nothing happens where they are. Not for two callers at once.

        `files` is entered once there is room for the model, and left when the model is unloaded.
        Raises LoadFailed (remembered for a while), NoRoom, PoolClosed, and what `files` raises.
        """
        if key in self._held:
            return
        if failed := self._failures.recent(key):
            raise LoadFailed(str(failed))
        await self._have_room()
        self._loading.add(key)
        try:
            self._held[key] = await self._loaded(files)
        except LoadFailed as error:
            self._failures.remember(key, error)
            self.tally.count(LOADS, key.name, key.version, "failed")
            _logger.error("%s could not be loaded: %s\n%s", key, error, error.log)  # noqa: TRY400 - the worker's own trace is in it
            raise
        finally:
            self._loading.discard(key)
            self._changed.set()
        self._failures.forget(key)
        self.tally.count(LOADS, key.name, key.version, "loaded")
        if self._closed:
            self._retire(key, "asked")
            raise PoolClosed("The gateway is shutting down.")

    async def unload(self, *keys: ModelKey) -> None:
        """End the versions' workers once they have answered what they were asked.

        Nothing happens for those that are not loaded. Raises Pinned, and then unloads none of them.
        """
        if pinned := [str(key) for key in keys if key in self._pinned]:
            raise Pinned(f"{', '.join(pinned)} is pinned by the gateway's settings and stays loaded.")
        seconds = self._limits.request_seconds
        ending = [self._retire(key, "asked", drain_seconds=seconds) for key in keys if key in self._held]
        await asyncio.gather(*map(asyncio.shield, ending))

    async def _loaded(self, files: AbstractAsyncContextManager[ModelSource]) -> _Held:
        async with AsyncExitStack() as stack:
            source = await stack.enter_async_context(files)
            crew = Crew(
                source,
                self._limits,
                template=self._template,
                starter=self._starter,
                broken=self._lose,
                idle=self._changed.set,
                tally=self.tally,
            )
            await crew.open()
            loop = asyncio.get_running_loop()
            loop.call_later(_AWAITED_SECONDS, self._changed.set)
            return _Held(crew, stack.pop_all(), loop.time() + _AWAITED_SECONDS)

    async def _have_room(self) -> None:
        """Wait for a place, which the least recently used model that is idle and not pinned gives up."""
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                while (
                    not self._closed
                    and len(self._held) + len(self._loading) >= self._limits.max_loaded_models
                ):
                    self._changed.clear()
                    if (key := self._least_recently_used()) is not None:
                        _logger.info("%s is unloaded to make room.", key)
                        await asyncio.shield(self._retire(key, "room"))
                    elif self._loading or not self._pinned.issuperset(self._held):
                        await self._changed.wait()
                    else:
                        raise self._no_room()
        except TimeoutError as error:
            raise self._no_room() from error
        if self._closed:
            raise PoolClosed("The gateway is shutting down.")

    def _no_room(self) -> NoRoom:
        most = self._limits.max_loaded_models
        return NoRoom(f"All {most} models that may be loaded at once are busy or pinned.")

    def _least_recently_used(self) -> ModelKey | None:
        now = asyncio.get_running_loop().time()
        idle = [
            key
            for key, held in self._held.items()
            if key not in self._pinned and not held.crew.busy and held.awaited_until <= now
        ]
        return min(idle, key=lambda key: self._held[key].crew.used, default=None)

    def _retire(self, key: ModelKey, reason: str, *, drain_seconds: float = 0.0) -> asyncio.Task[None]:
        """Take no more jobs for `key`, and end its workers in a task of the pool's own."""
        held = self._held.pop(key)
        self.tally.count(UNLOADS, key.name, key.version, reason)
        task = asyncio.create_task(_ended(held, drain_seconds=drain_seconds))
        self._closing.add(task)
        task.add_done_callback(self._retired)
        return task

    def _retired(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("A model could not be unloaded in order.", exc_info=error)

    def _lose(self, crew: Crew, error: LoadFailed) -> None:
        """No worker can be had for a model any more: the next request for it loads it anew, in time."""
        key = crew.source.key
        if key in self._held and self._held[key].crew is crew:
            _logger.error("%s lost its last worker: %s\n%s", key, error, error.log)
            self._failures.remember(key, error)
            self._retire(key, "lost")

    async def _retire_idle(self) -> None:
        loop = asyncio.get_running_loop()
        idle_seconds = self._limits.idle_seconds
        while True:
            while (key := self._least_recently_used()) is not None:
                left = self._held[key].crew.used + idle_seconds - loop.time()
                if left > 0:
                    break
                _logger.info("%s is unloaded: nobody has asked for it for %g s.", key, idle_seconds)
                self._retire(key, "idle")
            await asyncio.sleep(idle_seconds if key is None else left)


async def _ended(held: _Held, *, drain_seconds: float) -> None:
    try:
        await held.crew.close(drain_seconds=drain_seconds)
    finally:
        await held.stack.aclose()
