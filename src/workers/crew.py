"""The warm workers of one model version, and the queue that they serve."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workers.batcher import Batcher
from workers.errors import (
    InputRefused,
    LoadFailed,
    ModelFailed,
    OutOfTime,
    PoolClosed,
    TypeRefused,
    WorkerDied,
)
from workers.messages import Failure
from workers.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from workers.batcher import Ticket
    from workers.errors import WorkerError
    from workers.limits import Limits
    from workers.messages import Job, ModelSource, Reply
    from workers.template import Template

_logger = logging.getLogger("workers")

_DEATHS = 2  # a job that as many workers died of is not tried again
_TRIES = 2  # to replace the last worker, before the model counts as one that cannot be loaded
_NO_PROCESS = "No process could be started for the model."
_SHORT_LIFE_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0


@dataclass(eq=False, slots=True)
class _Post:
    """A worker, the batches that it has been given (the first is the one it runs), and its clock."""

    worker: Worker
    started: float
    batches: deque[list[Ticket]] = field(default_factory=deque)
    clock: asyncio.TimerHandle | None = None
    blamed: bool = False
    hung: bool = False


class Crew:
    """`limits.workers_per_model` processes with one model version.

    A worker that dies is replaced; its jobs are run again, once, elsewhere. `broken` is called where
    no worker can be had any more; `idle` whenever the last job is done.
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
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.source = source
        self._limits = limits
        self._template = template
        self._starter = starter
        self._broken = broken
        self._idle = idle
        self._batcher = Batcher(limit=limits.max_queue)
        self._posts: list[_Post] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self.used = self._loop.time()

    @property
    def busy(self) -> bool:
        """Whether a job waits or runs."""
        return self._batcher.waiting > 0 or any(post.batches for post in self._posts)

    @property
    def workers(self) -> int:
        """How many processes are warm."""
        return len(self._posts)

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

    async def predict(self, job: Job) -> Reply:
        """The job's reply.

        Raises QueueFull, OutOfTime, InputRefused, TypeRefused, ModelFailed, WorkerDied, PoolClosed.
        """
        self.used = self._loop.time()
        ticket = self._batcher.put(job)
        self._dispatch()
        seconds = self._limits.request_seconds
        try:
            async with asyncio.timeout(seconds):
                return await ticket.future
        except TimeoutError as error:
            raise OutOfTime(f"The model did not answer within {seconds:g} s.") from error
        finally:
            self._batcher.withdraw(ticket)

    async def close(self, *, drain_seconds: float) -> None:
        """Answer what waits and runs, for as long as `drain_seconds`; then end every process."""
        await self._drain(drain_seconds)
        self._closed = True
        error = PoolClosed("The gateway is shutting down.")
        self._batcher.fail(error)
        busy = [post for post in self._posts if post.batches]
        free = [post for post in self._posts if not post.batches]
        for task in self._tasks:
            task.cancel()
        for post in busy:
            _fail([ticket for batch in post.batches for ticket in batch], error)
        await asyncio.gather(*(post.worker.kill() for post in busy), *(post.worker.close() for post in free))
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._posts.clear()

    async def _drain(self, seconds: float) -> None:
        deadline = self._loop.time() + seconds
        while self.busy and self._tasks and (left := deadline - self._loop.time()) > 0:
            await asyncio.wait(self._tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)

    async def _man(self) -> None:
        """Put one more worker to its post."""
        worker = await Worker.start(
            self.source,
            template=self._template,
            starter=self._starter,
            seconds=self._limits.load_seconds,
            died=self._lost,
        )
        if not worker.loaded.preloaded:
            _logger.warning("The template could not import all it should; each worker pays for that itself.")
        self._posts.append(_Post(worker, self._loop.time()))
        self._dispatch()

    def _dispatch(self) -> None:
        """Hand out what waits to whoever is free; called whenever either changes."""
        while self._batcher.waiting and (post := self._free_post()) is not None:
            tickets = self._batcher.take()
            if not tickets:
                return
            post.batches.append(tickets)
            if len(post.batches) == 1:
                self._start_clock(post)
            self._own(asyncio.create_task(self._run(post, tickets)))

    def _free_post(self) -> _Post | None:
        post = min(self._posts, key=_load, default=None)
        return post if post is not None and len(post.batches) < self._batcher.depth else None

    async def _run(self, post: _Post, tickets: list[Ticket]) -> None:
        try:
            replies = await post.worker.run(tuple(ticket.job for ticket in tickets))
        except WorkerDied as error:
            self._retry(post, tickets, error)
        else:
            self._settle(tickets, replies)
        finally:
            post.batches.remove(tickets)
            self._start_clock(post)
        self._dispatch()
        if not self.busy:
            self._idle()

    def _settle(self, tickets: list[Ticket], replies: tuple[Reply | Failure, ...]) -> None:
        if len(replies) != len(tickets):
            _fail(tickets, ModelFailed(f"The worker answered {len(replies)} of {len(tickets)} requests."))
            return
        for ticket, reply in zip(tickets, replies, strict=True):
            if isinstance(reply, Failure):
                _fail([ticket], _error(reply))
                continue
            self._batcher.learn(reply.seconds)
            if not ticket.future.done():
                ticket.future.set_result(reply)

    def _retry(self, post: _Post, tickets: list[Ticket], error: WorkerDied) -> None:
        """Queue again what the dead worker held; only the batch that it ran is to blame."""
        if post.batches[0] is tickets and not post.blamed:
            for ticket in tickets:
                ticket.deaths += 1
        post.blamed = True
        _fail([ticket for ticket in tickets if ticket.deaths >= _DEATHS], error)
        self._batcher.give_back(tickets)

    def _start_clock(self, post: _Post) -> None:
        """Give the batch that the worker runs now its time; a worker that exceeds it is hung."""
        if post.clock is not None:
            post.clock.cancel()
        post.clock = (
            self._loop.call_later(self._limits.request_seconds, self._hung, post) if post.batches else None
        )

    def _hung(self, post: _Post) -> None:
        _logger.error(
            "A worker of %s has not answered for %g s: it is ended and replaced.",
            self.source.key,
            self._limits.request_seconds,
        )
        post.hung = True
        self._own(asyncio.create_task(post.worker.kill()))

    def _lost(self, worker: Worker) -> None:
        """A worker's process ended, whoever ended it."""
        post = next((post for post in self._posts if post.worker is worker), None)
        if post is None or self._closed:
            return
        self._posts.remove(post)
        if not post.hung:
            _logger.error("A worker of %s ended unexpectedly; a new one is started.", self.source.key)
        idle_crash = not post.batches and self._loop.time() - post.started < _SHORT_LIFE_SECONDS
        self._own(asyncio.create_task(self._replace(pause=_FIRST_PAUSE_SECONDS if idle_crash else 0.0)))

    async def _replace(self, *, pause: float) -> None:
        """Have a new worker; where none can be loaded, twice, and none is left, the crew is broken."""
        tries = 0
        while True:
            await asyncio.sleep(pause)
            try:
                await self._man()
            except Exception as error:  # noqa: BLE001 - whatever it is, callers must not wait for a worker that never comes
                tries += 1
                failed = error if isinstance(error, LoadFailed) else LoadFailed(_NO_PROCESS, log=repr(error))
                _logger.error("A new worker of %s could not be loaded: %s", self.source.key, failed)  # noqa: TRY400 - the trace would be ours
                if tries >= _TRIES and not self._posts:
                    self._batcher.fail(failed)
                    self._broken(self, failed)
                    return
                pause = min(_LONGEST_PAUSE_SECONDS, max(_FIRST_PAUSE_SECONDS, pause * 2))
            else:
                return

    def _own(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._disown)

    def _disown(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("A task of %s failed.", self.source.key, exc_info=error)


def _load(post: _Post) -> int:
    return len(post.batches)


def _fail(tickets: list[Ticket], error: Exception) -> None:
    for ticket in tickets:
        if not ticket.future.done():
            ticket.future.set_exception(error)


def _error(failure: Failure) -> WorkerError:
    if failure.kind == "input":
        return InputRefused(failure.message, failure.details)
    if failure.kind == "type":
        return TypeRefused(failure.message)
    if failure.kind == "load":
        return LoadFailed(failure.message, log=failure.log)
    return ModelFailed(failure.message, exception=failure.exception, text=failure.text, log=failure.log)
