"""Every loaded model version, by key: bounded in number, idle ones retired; the package's only door."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from workers.errors import (
    AnswerRefused,
    InputRefused,
    LoadFailed,
    ModelFailed,
    NoMeans,
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
from workers.limits import Limits
from workers.metrics import EVENTS, QUEUE_REFUSALS, Event, Tally
from workers.pool.loading import Loader
from workers.pool.slots import Places
from workers.pool.status import Memory, State
from workers.prediction_stream import Stream
from workers.process.forkserver import Template
from workers.protocol.messages import (
    ARROW,
    CSV,
    JSON,
    OPEN_INFERENCE,
    PARQUET,
    Batching,
    Cell,
    InputChecks,
    Job,
    ModelKey,
    ModelSource,
    Reply,
)
from workers.spawn_health import Starts
from workers.versions import OTHER, Versions

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from contextlib import AbstractAsyncContextManager

    from workers.scheduler.worker_group import Crew

__all__ = [
    "ARROW",
    "CSV",
    "EVENTS",
    "JSON",
    "OPEN_INFERENCE",
    "OTHER",
    "PARQUET",
    "QUEUE_REFUSALS",
    "AnswerRefused",
    "Batching",
    "Cell",
    "Event",
    "InputChecks",
    "InputRefused",
    "Job",
    "Limits",
    "LoadFailed",
    "Memory",
    "ModelFailed",
    "ModelKey",
    "ModelSource",
    "NoMeans",
    "NoRoom",
    "NotLoaded",
    "OutOfTime",
    "Pinned",
    "Pool",
    "PoolClosed",
    "QueueFull",
    "Reply",
    "Starts",
    "State",
    "Stream",
    "StreamRefused",
    "Tally",
    "TypeRefused",
    "Versions",
    "WorkerDied",
    "WorkerError",
]

_LAST_WORD_SECONDS = 1.0  # for jobs that run out of time as their model is unloaded to be told just that
_TROUBLE_SECONDS = 5.0
_TRIAL_SECONDS = 60.0  # for a process that does nothing to start and to end
_LAST_SECONDS = 10.0  # for the starts that have begun when the pool closes
_STARTERS = 4  # threads that wait for the template to fork


class Pool:
    """Warm workers keyed by model name, version and fingerprint. Used from one event loop."""

    def __init__(
        self, limits: Limits, *, environment: Mapping[str, str] | None = None, tally: Tally | None = None
    ) -> None:
        """`environment` is all that the workers see of it; None leaves them this process' own.

        `tally` is where what happens is counted.
        """
        self.tally = tally or Tally()
        self._template = Template(environment)
        self._starter = ThreadPoolExecutor(_STARTERS, thread_name_prefix="worker-start")
        self._places = Places(limits, self.tally, template=self._template)
        self._loader = Loader(
            limits, places=self._places, template=self._template, starter=self._starter, tally=self.tally
        )
        self._keeping: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Start the template, which goes on importing behind; and the keeping of the limits."""
        self._template.ensure_running()
        self._keeping.append(asyncio.create_task(_kept(self._places.retire_idle), name="idle models"))
        if self._places.budget.limit is not None:
            work = _kept(self._places.keep_to_budget)
            self._keeping.append(asyncio.create_task(work, name="memory budget"))

    def change(self, limits: Limits) -> None:
        """Have other limits from now on; a model that is loaded keeps its queue and its times."""
        self._places.change(limits)
        self._loader.change(limits)

    @property
    def serves(self) -> bool:
        """Whether any model is warm."""
        return any(held.crew.workers for held in self._places.held.values())

    @property
    def starts(self) -> Starts:
        """How starting processes for workers fares."""
        return self._template.starts

    async def try_start(self) -> None:
        """Find out whether a worker's process can be started, by one that does nothing; `starts` notes it."""
        trial = asyncio.get_running_loop().run_in_executor(self._starter, self._template.try_start)
        try:
            await self._ended_by(trial, _TRIAL_SECONDS)
        except (OSError, EOFError):
            self.starts.note(began=False)
        else:
            self.starts.note(began=True)

    async def close(self, *, drain_seconds: float) -> None:
        """Take no more jobs, answer those there are for as long as `drain_seconds`, end every process."""
        self._places.shut()
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        await self._places.close(drain_seconds=drain_seconds)
        starter = asyncio.create_task(asyncio.to_thread(self._starter.shutdown, cancel_futures=True))
        await self._ended_by(starter, _LAST_SECONDS)

    async def _ended_by(self, waiting: asyncio.Future[None], seconds: float) -> None:
        """Wait for something that waits for the template, and end the template where that hangs."""
        done, _ = await asyncio.wait([waiting], timeout=seconds)
        if not done:
            self._template.kill()
        await waiting

    def is_warm(self, key: ModelKey) -> bool:
        """Whether `predict` can be called for `key`."""
        return key in self._places.held

    def state(self, key: ModelKey) -> State:
        """How the version is served now."""
        if (held := self._places.held.get(key)) is not None:
            crew = held.crew
            merging = crew.loaded.merging
            return State("warm", crew.workers, merging=merging, waiting=crew.waiting, running=crew.running)
        if key in self._places.loading:
            return State("loading")
        if failed := self._loader.failed(key):
            return State("failed", reason=str(failed))
        return State("cold")

    def states(self) -> dict[ModelKey, State]:
        """How each version is served that is loaded or being loaded."""
        return {key: self.state(key) for key in (*self._places.held, *self._places.loading)}

    def memory(self) -> Memory:
        """What was taken of the memory when it was last measured."""
        budget = self._places.budget
        held = self._places.held if budget.limit is not None else {}
        models = {key: one.crew.bytes for key, one in held.items()}
        return Memory(budget.limit, budget.own, models)

    def pin(self, key: ModelKey) -> None:
        """Never retire or evict `key`, once it is loaded."""
        self._places.pinned.add(key)

    def unpin(self, key: ModelKey) -> None:
        """Let `key` be retired and evicted again."""
        self._places.pinned.discard(key)

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
        held = self._places.held.get(key)
        if held is None:
            if self._places.closed:
                raise PoolClosed("The gateway is shutting down.")
            raise NotLoaded(f"{key} is not loaded.")
        held.awaited_until = 0.0
        return held.crew

    async def load(self, key: ModelKey, files: AbstractAsyncContextManager[ModelSource]) -> None:
        """Have the version's workers warm; nothing happens where they are. Not for two callers at once.

        `files` is entered once there is room for the model, and left when the model is unloaded.
        Raises LoadFailed (remembered for a while), NoMeans, NoRoom, PoolClosed, and what `files` raises.
        """
        if key in self._places.held:
            return
        await self._loader.load(key, files)
        if self._places.closed:
            self._places.retire(key, "closing")
            raise PoolClosed("The gateway is shutting down.")

    async def unload(self, *keys: ModelKey) -> None:
        """End the versions' workers once they have answered what they were asked.

        Nothing happens for those that are not loaded. Raises Pinned, and then unloads none of them.
        """
        if pinned := [str(key) for key in keys if key in self._places.pinned]:
            raise Pinned(f"{', '.join(pinned)} is pinned by the gateway's settings and stays loaded.")
        crews = {key: self._places.held[key].crew for key in keys if key in self._places.held}
        ending = [
            self._places.retire(key, "asked", drain_seconds=crew.request_seconds + _LAST_WORD_SECONDS)
            for key, crew in crews.items()
        ]
        await asyncio.gather(*map(asyncio.shield, ending))


async def _kept(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Work that goes on until cancelled; what goes wrong in it once is told to the loop."""
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - whatever it is, limits are to be kept
            message = f"Models could not be unloaded in time; tried again in {_TROUBLE_SECONDS:g} s."
            asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
            await asyncio.sleep(_TROUBLE_SECONDS)
