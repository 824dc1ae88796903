"""The warm workers of one model version: started, replaced when they die, ended."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from workers.errors import ModelLoadError, SystemResourcesExhausted
from workers.metrics import WORKER_DEATHS, WORKER_STARTS
from workers.process.launcher import WorkerStartFailed, launch
from workers.protocol.messages import LoadReport
from workers.scheduler.background import BackgroundTasks
from workers.scheduler.dispatcher import Dispatcher
from workers.scheduler.streams import StreamManager
from workers.scheduler.worker_slot import WorkerSlot

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from workers.limits import PoolLimits
    from workers.metrics import Counters
    from workers.prediction_stream import PredictionStream
    from workers.process.forkserver import ForkServer
    from workers.process.worker import ProcessWorker
    from workers.protocol.messages import Job, ModelSource, Reply


_MIN_UPTIME_SECONDS: Final = 10.0
_MIN_RETRY_SECONDS: Final = 0.5
_MAX_RETRY_SECONDS: Final = 30.0


class CrashLoopBackoff:
    """The `pause` of one model, doubled with each generation of workers that lives for a short time only."""

    def __init__(self) -> None:
        self.delay = 0.0
        self._last_exit = float("-inf")

    def next_delay(self, *, started: float, ended: float) -> float:
        """Seconds until the worker may be replaced that lived, and was asked nothing, between these times.

        Several that were started before the last one ended are of its generation.
        """
        if ended - started >= _MIN_UPTIME_SECONDS:
            self.delay = 0.0
        elif started >= self._last_exit:
            self.delay = min(_MAX_RETRY_SECONDS, max(_MIN_RETRY_SECONDS, 2 * self.delay))
            self._last_exit = ended
        return self.delay


logger = logging.getLogger(__name__)

_MAX_ATTEMPTS = 2  # to replace the last worker, before the model counts as one that cannot be loaded
_NO_PROCESS_MESSAGE = "No process could be started for the model."


class WorkerGroup:
    """`limits.workers_per_model` processes with one model version.

    A worker that dies is replaced; its jobs are run again, once, elsewhere. `broken` is called where
    no worker can be had any more, and `failed` says why; `idle` whenever the last job is done. `bytes` is
    what its processes take for themselves, as whoever measures it says.
    """

    def __init__(
        self,
        source: ModelSource,
        limits: PoolLimits,
        *,
        forkserver: ForkServer,
        spawn_executor: Executor,
        on_failed: Callable[[WorkerGroup, ModelLoadError], None],
        on_idle: Callable[[], None],
        counters: Counters,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.source = source
        self._counters = counters
        self._limits = limits
        self._forkserver = forkserver
        self._spawn_executor = spawn_executor
        self._on_failed = on_failed
        self._dispatcher = Dispatcher(
            source.key, limits, on_worker_exit=self._on_worker_exit, on_idle=on_idle, counters=counters
        )
        self._streams = StreamManager(self._dispatcher, limits)
        self._crash_backoff = CrashLoopBackoff()
        self._replacements = BackgroundTasks(source.key)
        self._closed = False
        self.failure: ModelLoadError | None = None
        self.memory_bytes = 0
        self.load_report = LoadReport(0.0)

    @property
    def busy(self) -> bool:
        """Whether a job waits or runs (in a worker that has just died, too), or a stream is open."""
        return self._dispatcher.busy

    @property
    def used(self) -> float:
        """When it was last asked, in the loop's time."""
        return self._dispatcher.last_used

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
    def worker_count(self) -> int:
        """How many processes are warm."""
        return len(self._dispatcher.slots)

    @property
    def pids(self) -> list[int]:
        """The processes that are warm."""
        return [post.worker.pid for post in self._dispatcher.slots]

    async def start(self) -> None:
        """Load the model in every worker. Raises LoadFailed; then no process is left."""
        starts = [asyncio.create_task(self._add_worker()) for _ in range(self._limits.workers_per_model)]
        try:
            await asyncio.gather(*starts)
        except BaseException:
            for start in starts:
                start.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
            await self.close(drain_seconds=0.0)
            raise
        merging = self.load_report.row_batching
        how = "are predicted together" if merging.enabled else "are predicted apart"
        logger.info("%s is warm; rows of several requests %s: %s.", self.source.key, how, merging.reason)

    async def predict(self, job: Job) -> Reply:
        """The job's reply.

        Raises QueueFull, OutOfTime, InputRefused, TypeRefused, ModelFailed, WorkerDied, PoolClosed.
        """
        reply: Reply = await self._dispatcher.submit(job)
        return reply

    async def stream(self, job: Job) -> PredictionStream:
        """The job's answer in chunks, of which the first is there; the caller closes it.

        It has a worker to itself until it ends or is closed. Raises StreamRefused and what `predict`
        raises.
        """
        return await self._streams.open(job, streamable=self.load_report.streamable)

    async def close(self, *, drain_seconds: float) -> None:
        """Answer what waits and runs, for as long as `drain_seconds`; then end every process."""
        await self._dispatcher.drain(drain_seconds)
        self._closed = True
        self._streams.close()
        self._replacements.cancel()
        await self._dispatcher.close()
        await self._replacements.wait()

    @property
    def _labels(self) -> tuple[str, str]:
        return self.source.key.name, self.source.key.version

    async def _add_worker(self) -> None:
        """Put one more worker to its post; where its process did not live to load, try once more."""
        try:
            worker = await self._start_worker()
        except WorkerStartFailed as error:
            logger.warning("A worker of %s did not start, and is tried again: %s", self.source.key, error)
            worker = await self._start_worker()
        if not worker.load_report.preloaded:
            logger.warning("The template could not import all it should; each worker pays for that itself.")
        self._counters.increment(WORKER_STARTS, *self._labels)
        self.load_report = worker.load_report
        self._dispatcher.add(WorkerSlot(worker, self._loop.time()), worker.load_report.row_batching)

    async def _start_worker(self) -> ProcessWorker:
        return await launch(
            self.source,
            forkserver=self._forkserver,
            spawn_executor=self._spawn_executor,
            seconds=self._limits.load_seconds,
            on_exit=self._on_worker_exit,
        )

    def _on_worker_exit(self, worker: ProcessWorker) -> None:
        """A worker's process ended, whoever ended it."""
        if self._closed or (post := self._dispatcher.remove(worker)) is None:
            return
        self._counters.increment(WORKER_DEATHS, *self._labels, "hung" if post.timed_out else "died")
        if not post.timed_out:
            logger.error("A worker of %s ended unexpectedly; a new one is started.", self.source.key)
        by_itself = not (post.busy or post.died_working)
        ended = self._loop.time()
        pause = self._crash_backoff.next_delay(started=post.started_at, ended=ended) if by_itself else 0.0
        self._replacements.spawn(self._replace_worker(pause=pause))

    async def _replace_worker(self, *, pause: float) -> None:
        """Have a new worker, after a pause that a job which nobody is there to answer cuts short.

        Where none can be loaded, twice, and none is left, the crew is broken.
        """
        tries = 0
        await asyncio.sleep(min(pause, _MIN_RETRY_SECONDS))
        await self._dispatcher.wait_for_demand(pause - _MIN_RETRY_SECONDS)
        while True:
            try:
                await self._add_worker()
            except Exception as error:  # noqa: BLE001 - whatever it is, callers must not wait for a worker that never comes
                tries += not isinstance(
                    error, SystemResourcesExhausted
                )  # it is not the model's failure, and passes
                failed = (
                    error
                    if isinstance(error, ModelLoadError)
                    else ModelLoadError(_NO_PROCESS_MESSAGE, log=repr(error))
                )
                logger.error("A new worker of %s could not be loaded: %s", self.source.key, failed)
                if tries >= _MAX_ATTEMPTS and not self._dispatcher.slots:
                    self.failure = failed
                    self._dispatcher.reject_all(failed)
                    self._on_failed(self, failed)
                    return
                pause = min(_MAX_RETRY_SECONDS, max(_MIN_RETRY_SECONDS, pause * 2))
                await asyncio.sleep(pause)
            else:
                return
