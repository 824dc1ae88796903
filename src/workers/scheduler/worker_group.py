"""The worker processes of one loaded model version."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from workers.answer_memory import AnswerLimits
from workers.backoff import Backoff
from workers.errors import ModelLoadError, SystemResourcesExhausted
from workers.metrics import WORKER_EXITS, WORKER_STARTS
from workers.process.launcher import WorkerStartFailed, launch
from workers.protocol.messages import LoadReport
from workers.scheduler.background import BackgroundTasks
from workers.scheduler.dispatcher import Dispatcher
from workers.scheduler.streams import StreamManager
from workers.scheduler.worker_slot import WorkerSlot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from workers.limits import PoolLimits
    from workers.metrics import Counters
    from workers.prediction_stream import PredictionStream
    from workers.process.forkserver import ForkServer
    from workers.process.worker import ProcessWorker
    from workers.protocol.messages import Job, ModelSource, Reply
    from workers.submission import Submission

logger = logging.getLogger(__name__)

_MIN_UPTIME_SECONDS: Final = 10.0  # after which an exit is no crash loop
_INITIAL_DELAY_SECONDS: Final = 0.5
_MAX_DELAY_SECONDS: Final = 30.0
_MAX_ATTEMPTS: Final = 2  # to start a worker while there is none, until the group has failed


class CrashLoopBackoff:
    """A backoff for workers that exit while idle; it grows with each short-lived generation."""

    def __init__(self) -> None:
        self._backoff = Backoff(_INITIAL_DELAY_SECONDS, _MAX_DELAY_SECONDS)
        self._delay = 0.0
        self._last_exit = float("-inf")

    def next_delay(self, *, started_at: float, exited_at: float) -> float:
        """Return the seconds until a worker that lived between these times may be replaced.

        Workers that started before the last exit are of one generation, and have the same delay.
        """
        if exited_at - started_at >= _MIN_UPTIME_SECONDS:
            self._backoff.reset()
            self._delay = 0.0
        elif started_at >= self._last_exit:
            self._delay = self._backoff.next_delay()
            self._last_exit = exited_at
        return self._delay


class WorkerGroup:
    """A group of `limits.workers_per_model` processes, on a GPU one, that hold one model version.

    A worker that exits is replaced, and its requests run again in another. The group has failed if
    its last worker cannot be replaced: `failure` is why, and `on_failed` is called. `on_idle` is called
    whenever the last request is done. `memory_bytes` is the processes' private memory, as last measured.
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
        answers: AnswerLimits | None = None,
    ) -> None:
        """`spawn_executor` has the threads that wait until the fork server has forked."""
        self._loop = asyncio.get_running_loop()
        self._counters = counters
        self._labels = source.key.name, source.key.version
        self._forkserver = forkserver
        self._spawn_executor = spawn_executor
        self._on_failed = on_failed
        self._on_idle = on_idle
        self._idle = asyncio.Event()
        self._crash_backoff = CrashLoopBackoff()
        self._background_tasks = BackgroundTasks(source.key)
        self._closed = False
        self._answers = answers or AnswerLimits()
        self.dispatcher = Dispatcher(
            source.key,
            limits,
            on_worker_exit=self._on_worker_exit,
            on_timeout=self._kill_hung,
            on_idle=self._on_last_request_done,
            counters=counters,
        )
        self._streams = StreamManager(source.key, limits, dispatcher=self.dispatcher)
        self.source = source
        self.limits = limits
        self.failure: ModelLoadError | None = None
        self.memory_bytes = 0
        self.load_report = LoadReport(0.0)

    @property
    def pids(self) -> list[int]:
        """The ids of the processes that have loaded the model."""
        return [slot.worker.pid for slot in self.dispatcher.slots]

    @property
    def _worker_count(self) -> int:
        return 1 if self.source.device else self.limits.workers_per_model  # each would take device memory

    async def start(self) -> None:
        """Load the model in every worker. Raise ModelLoadError if one fails; then no process is left."""
        starts = [asyncio.create_task(self._add_worker()) for _ in range(self._worker_count)]
        try:
            await asyncio.gather(*starts)
        except BaseException:
            for start in starts:
                start.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
            await self.close(drain_seconds=0.0)
            raise
        report = self.load_report
        self._log(
            logging.INFO,
            "model_loaded",
            "Loaded model %s",
            seconds=report.seconds,
            workers=len(starts),
            row_batching=report.row_batching.enabled,
            reason=report.row_batching.reason,
        )

    async def predict(self, job: Job) -> Reply:
        """Return the reply to a job.

        Raise QueueFull, PredictionTimeout, InvalidInput, UnsupportedMediaType, NotAcceptable, ModelError,
        WorkerCrashed or PoolClosed.
        """
        reply: Reply = await self.dispatcher.submit(job)
        return reply

    def submit(
        self, ids: Sequence[int], jobs: Sequence[Job], on_done: Callable[[int, Any], None]
    ) -> list[Submission]:
        """Have `on_done` called with the id of each job, and the reply or the error; see the dispatcher."""
        return self.dispatcher.submit_all(ids, jobs, on_done)

    async def stream(self, job: Job) -> PredictionStream:
        """Return a stream of chunks, of which the first is there; the caller closes it.

        The stream has a worker to itself until its end. Raise StreamingNotSupported, or as `predict` does.
        """
        return await self._streams.open(job, streamable=self.load_report.streamable)

    async def close(self, *, drain_seconds: float) -> None:
        """Answer the requests that wait or run within `drain_seconds`; then end every process."""
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_seconds):
                while self.dispatcher.busy:
                    self._idle.clear()
                    await self._idle.wait()
        self._closed = True
        self._streams.close()
        self._background_tasks.cancel()
        await self.dispatcher.close()
        await self._background_tasks.wait()

    def _on_last_request_done(self) -> None:
        self._idle.set()
        self._on_idle()

    async def _add_worker(self) -> None:
        """Start a worker and let it serve; try once more if its process did not live to load the model."""
        try:
            worker = await self._start_worker()
        except WorkerStartFailed as error:
            self._log(
                logging.WARNING, "worker_start_failed", "Worker of %s did not start; trying again: %s", error
            )
            worker = await self._start_worker()
        if not worker.load_report.preloaded:
            logger.warning(
                "Fork server preload failed; worker starts will be slow",
                extra={"event": "preload_incomplete"},
            )
        worker.limit_answers(self._answers)
        self._counters.increment(WORKER_STARTS, *self._labels)
        self.load_report = worker.load_report
        self.dispatcher.add(WorkerSlot(worker, self._loop.time()), worker.load_report.row_batching)

    async def _start_worker(self) -> ProcessWorker:
        return await launch(
            self.source,
            forkserver=self._forkserver,
            spawn_executor=self._spawn_executor,
            seconds=self.limits.load_seconds,
            on_exit=self._on_worker_exit,
        )

    def _on_worker_exit(self, worker: ProcessWorker) -> None:
        """Replace a worker whose process ended: at once if it had a request, else after a delay."""
        if self._closed or (slot := self.dispatcher.remove(worker)) is None:
            return
        reason = "timeout" if slot.timed_out else "protocol" if worker.violation else "crash"
        self._counters.increment(WORKER_EXITS, *self._labels, reason)
        delay = 0.0
        if not (slot.busy or slot.crash_recorded):
            delay = self._crash_backoff.next_delay(started_at=slot.started_at, exited_at=self._loop.time())
        fields = {"pid": worker.pid, "delay_seconds": delay}
        if worker.violation:
            message = (
                "Worker of %s sent the gateway %s, and was ended; restarting in %g s. Only code of the model "
                "that writes to the worker's own socket can cause this"
            )
            args = worker.violation, delay
            self._log(logging.ERROR, "worker_broke_protocol", message, *args, **fields)
        elif not slot.timed_out:
            message = "Worker of %s exited unexpectedly; restarting in %g s"
            self._log(logging.ERROR, "worker_exited", message, delay, **fields)
        self._background_tasks.spawn(self._replace_worker(delay=delay))

    def _kill_hung(self, slot: WorkerSlot) -> None:
        """Kill a worker that did not reply in time; its exit has it replaced.

        One whose reply waits for memory of the gateway's is given time for that, which is limited.
        """
        if slot.worker.paused:
            slot.restart_timer(self.limits.request_seconds, self._kill_hung)
            return
        slot.timed_out = True
        seconds = self.limits.request_seconds
        message = "Worker of %s did not reply within %g s; killing it"
        self._log(logging.ERROR, "worker_timeout", message, seconds, pid=slot.worker.pid, seconds=seconds)
        self._background_tasks.spawn(slot.worker.kill())

    async def _replace_worker(self, *, delay: float) -> None:
        """Start a worker after `delay` seconds, or earlier if a request waits and no worker is left.

        Try until one has started. Fail the group after two attempts if it has no worker.
        """
        attempts, backoff = 0, Backoff(_INITIAL_DELAY_SECONDS, _MAX_DELAY_SECONDS)
        await asyncio.sleep(min(delay, _INITIAL_DELAY_SECONDS))
        await self.dispatcher.wait_for_demand(delay - _INITIAL_DELAY_SECONDS)
        while (error := await self._try_to_add_worker()) is not None:
            attempts += not isinstance(error, SystemResourcesExhausted)  # which is temporary
            if not isinstance(error, ModelLoadError):
                error = ModelLoadError("No process could be started for the model.", log=repr(error))
            self._log(logging.ERROR, "worker_restart_failed", "Worker of %s did not restart: %s", error)
            if attempts >= _MAX_ATTEMPTS and not self.dispatcher.slots:
                if self.failure is None:  # the last two workers may fail to restart at the same time
                    self.failure = error
                    self.dispatcher.reject_all(error)
                    self._on_failed(self, error)
                return
            await asyncio.sleep(backoff.next_delay())

    async def _try_to_add_worker(self) -> Exception | None:
        try:
            await self._add_worker()
        except Exception as error:  # noqa: BLE001 - any: no client may wait for a worker that never comes
            return error
        return None

    def _log(self, level: int, event: str, message: str, *args: object, **fields: object) -> None:
        """Log a message whose first argument is the model."""
        extra = {"event": event, "model": str(self.source.key), **fields}
        logger.log(level, message, self.source.key, *args, extra=extra, stacklevel=2)
