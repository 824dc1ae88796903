"""The warm workers of one model version: started, replaced when they die, ended."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from workers.errors import LoadFailed, NoMeans
from workers.metrics import WORKER_DEATHS, WORKER_STARTS
from workers.process.worker import StartFailed, Worker
from workers.protocol.messages import Loaded
from workers.scheduler.background import Errands
from workers.scheduler.dispatcher import Dispatcher
from workers.scheduler.streams import Streams
from workers.scheduler.worker_slot import Post

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from workers.limits import Limits
    from workers.metrics import Tally
    from workers.prediction_stream import Stream
    from workers.process.forkserver import Template
    from workers.protocol.messages import Job, ModelSource, Reply


_SHORT_LIFE_SECONDS: Final = 10.0
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0


class Relapses:
    """The `pause` of one model, doubled with each generation of workers that lives for a short time only."""

    def __init__(self) -> None:
        self.pause = 0.0
        self._noted = float("-inf")

    def pause_after(self, *, started: float, ended: float) -> float:
        """Seconds until the worker may be replaced that lived, and was asked nothing, between these times.

        Several that were started before the last one ended are of its generation.
        """
        if ended - started >= _SHORT_LIFE_SECONDS:
            self.pause = 0.0
        elif started >= self._noted:
            self.pause = min(_LONGEST_PAUSE_SECONDS, max(_FIRST_PAUSE_SECONDS, 2 * self.pause))
            self._noted = ended
        return self.pause


logger = logging.getLogger(__name__)

_TRIES = 2  # to replace the last worker, before the model counts as one that cannot be loaded
_NO_PROCESS = "No process could be started for the model."


class Crew:
    """`limits.workers_per_model` processes with one model version.

    A worker that dies is replaced; its jobs are run again, once, elsewhere. `broken` is called where
    no worker can be had any more, and `failed` says why; `idle` whenever the last job is done. `bytes` is
    what its processes take for themselves, as whoever measures it says.
    """

    def __init__(
        self,
        source: ModelSource,
        limits: Limits,
        *,
        template: Template,
        starter: Executor,
        broken: Callable[[Crew, LoadFailed], None],
        idle: Callable[[], None],
        tally: Tally,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.source = source
        self._tally = tally
        self._limits = limits
        self._template = template
        self._starter = starter
        self._broken = broken
        self._dispatcher = Dispatcher(source.key, limits, lost=self._lost, idle=idle, tally=tally)
        self._streams = Streams(self._dispatcher, limits)
        self._relapses = Relapses()
        self._replacements = Errands(source.key)
        self._closed = False
        self.failed: LoadFailed | None = None
        self.bytes = 0
        self.loaded = Loaded(0.0)

    @property
    def busy(self) -> bool:
        """Whether a job waits or runs (in a worker that has just died, too), or a stream is open."""
        return self._dispatcher.busy

    @property
    def used(self) -> float:
        """When it was last asked, in the loop's time."""
        return self._dispatcher.used

    @property
    def request_seconds(self) -> float:
        """How long a request has, from the moment it is queued."""
        return self._limits.request_seconds

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self._dispatcher.waiting

    @property
    def running(self) -> int:
        """How many requests its workers have been given."""
        return self._dispatcher.running

    @property
    def workers(self) -> int:
        """How many processes are warm."""
        return len(self._dispatcher.posts)

    @property
    def pids(self) -> list[int]:
        """The processes that are warm."""
        return [post.worker.pid for post in self._dispatcher.posts]

    async def open(self) -> None:
        """Load the model in every worker. Raises LoadFailed; then no process is left."""
        starts = [asyncio.create_task(self._man()) for _ in range(self._limits.workers_per_model)]
        try:
            await asyncio.gather(*starts)
        except BaseException:
            for start in starts:
                start.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
            await self.close(drain_seconds=0.0)
            raise
        merging = self.loaded.merging
        how = "are predicted together" if merging.on else "are predicted apart"
        logger.info("%s is warm; rows of several requests %s: %s.", self.source.key, how, merging.why)

    async def predict(self, job: Job) -> Reply:
        """The job's reply.

        Raises QueueFull, OutOfTime, InputRefused, TypeRefused, ModelFailed, WorkerDied, PoolClosed.
        """
        reply: Reply = await self._dispatcher.answer(job)
        return reply

    async def stream(self, job: Job) -> Stream:
        """The job's answer in chunks, of which the first is there; the caller closes it.

        It has a worker to itself until it ends or is closed. Raises StreamRefused and what `predict`
        raises.
        """
        return await self._streams.open(job, streamable=self.loaded.streamable)

    async def close(self, *, drain_seconds: float) -> None:
        """Answer what waits and runs, for as long as `drain_seconds`; then end every process."""
        await self._dispatcher.drain(drain_seconds)
        self._closed = True
        self._streams.close()
        self._replacements.cancel()
        await self._dispatcher.close()
        await self._replacements.join()

    @property
    def _labels(self) -> tuple[str, str]:
        return self.source.key.name, self.source.key.version

    async def _man(self) -> None:
        """Put one more worker to its post; where its process did not live to load, try once more."""
        try:
            worker = await self._start()
        except StartFailed as error:
            logger.warning("A worker of %s did not start, and is tried again: %s", self.source.key, error)
            worker = await self._start()
        if not worker.loaded.preloaded:
            logger.warning("The template could not import all it should; each worker pays for that itself.")
        self._tally.count(WORKER_STARTS, *self._labels)
        self.loaded = worker.loaded
        self._dispatcher.add(Post(worker, self._loop.time()), worker.loaded.merging)

    async def _start(self) -> Worker:
        worker = await Worker.start(
            self.source,
            template=self._template,
            starter=self._starter,
            seconds=self._limits.load_seconds,
            died=self._lost,
        )
        if worker.dead:  # its death was told before it had a post
            raise StartFailed("The process ended as soon as it had loaded the model.")
        return worker

    def _lost(self, worker: Worker) -> None:
        """A worker's process ended, whoever ended it."""
        if self._closed or (post := self._dispatcher.remove(worker)) is None:
            return
        self._tally.count(WORKER_DEATHS, *self._labels, "hung" if post.hung else "died")
        if not post.hung:
            logger.error("A worker of %s ended unexpectedly; a new one is started.", self.source.key)
        by_itself = not (post.busy or post.at_work)
        ended = self._loop.time()
        pause = self._relapses.pause_after(started=post.started, ended=ended) if by_itself else 0.0
        self._replacements.begin(self._replace(pause=pause))

    async def _replace(self, *, pause: float) -> None:
        """Have a new worker, after a pause that a job which nobody is there to answer cuts short.

        Where none can be loaded, twice, and none is left, the crew is broken.
        """
        tries = 0
        await asyncio.sleep(min(pause, _FIRST_PAUSE_SECONDS))
        await self._dispatcher.until_wanted(pause - _FIRST_PAUSE_SECONDS)
        while True:
            try:
                await self._man()
            except Exception as error:  # noqa: BLE001 - whatever it is, callers must not wait for a worker that never comes
                tries += not isinstance(error, NoMeans)  # it is not the model's failure, and passes
                failed = error if isinstance(error, LoadFailed) else LoadFailed(_NO_PROCESS, log=repr(error))
                logger.error("A new worker of %s could not be loaded: %s", self.source.key, failed)
                if tries >= _TRIES and not self._dispatcher.posts:
                    self.failed = failed
                    self._dispatcher.fail(failed)
                    self._broken(self, failed)
                    return
                pause = min(_LONGEST_PAUSE_SECONDS, max(_FIRST_PAUSE_SECONDS, pause * 2))
                await asyncio.sleep(pause)
            else:
                return
