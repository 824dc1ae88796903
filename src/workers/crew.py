"""The warm workers of one model version, and the queue that they serve."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from workers.batcher import Batcher, Ticket
from workers.errors import LoadFailed, OutOfTime, PoolClosed, StreamRefused, WorkerDied
from workers.messages import Failure, Next, Open, Reply, Stop
from workers.post import Post, load
from workers.stream import Stream
from workers.verdicts import fail, settle
from workers.worker import StartFailed, Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from workers.limits import Limits
    from workers.messages import Answer, Chunk, Job, ModelSource
    from workers.template import Template

_logger = logging.getLogger("workers")

_DEATHS = 2  # a job that as many workers died of is not tried again
_TRIES = 2  # to replace the last worker, before the model counts as one that cannot be loaded
_NO_PROCESS = "No process could be started for the model."
_NEWS_SECONDS = 0.05  # for the news of other deaths to arrive
_SHORT_LIFE_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0


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
        self._posts: list[Post] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._task_ended = asyncio.Event()
        self._running = 0
        self._numbers = count(1)
        self._streamable = False
        self._closed = False
        self.used = self._loop.time()

    @property
    def busy(self) -> bool:
        """Whether a job waits or runs (in a worker that has just died, too), or a stream is open."""
        return self._batcher.waiting > 0 or self._running > 0 or any(post.busy for post in self._posts)

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
        ticket = self._batcher.put(job)
        self._dispatch()
        reply: Reply = await self._answer(ticket)
        return reply

    async def stream(self, job: Job) -> Stream:
        """The job's answer in chunks, of which the first is there; the caller closes it.

        It has a worker to itself until it ends or is closed. Raises StreamRefused and what `predict`
        raises.
        """
        if not self._streamable:
            raise StreamRefused("This model has no predict_stream: it answers in one piece, without stream.")
        number = next(self._numbers)
        ticket = self._batcher.put(Open.of(job, number))
        self._dispatch()
        try:
            first: Chunk = await self._answer(ticket)
        except BaseException:
            self._stop(number)
            raise
        seconds = self._limits.stream_seconds
        ends = self._loop.time() + seconds if seconds else None
        return Stream(first, ask=partial(self._next, number, ends), stop=partial(self._stop, number))

    async def _answer(self, ticket: Ticket) -> Any:
        self.used = self._loop.time()
        seconds = self._limits.request_seconds
        try:
            async with asyncio.timeout(seconds):
                return await ticket.future
        except TimeoutError as error:
            raise OutOfTime(f"The model did not answer within {seconds:g} s.") from error
        finally:
            self._batcher.withdraw(ticket)

    async def _next(self, number: int, ends: float | None) -> Chunk:
        if self._closed:
            raise _closing()
        if ends is not None and self._loop.time() >= ends:
            raise OutOfTime(f"The stream took longer than {self._limits.stream_seconds:g} s.")
        if (post := self._streaming(number)) is None:
            raise WorkerDied("The worker's process ended.")
        ticket = _bound(Next(number))
        self._give(post, [ticket])
        chunk: Chunk = await self._answer(ticket)
        return chunk

    def _stop(self, number: int) -> None:
        """Have the stream closed where it is open still, or is being opened."""
        post = self._streaming(number)
        if post is not None and not self._closed:
            ticket = _bound(Stop(number))
            ticket.future.cancel()  # nobody waits
            self._give(post, [ticket])

    def _streaming(self, number: int) -> Post | None:
        return next((post for post in self._posts if post.stream == number), None)

    async def close(self, *, drain_seconds: float) -> None:
        """Answer what waits and runs, for as long as `drain_seconds`; then end every process."""
        await self._drain(drain_seconds)
        self._closed = True
        error = _closing()
        self._batcher.fail(error)
        busy = [post for post in self._posts if post.busy]
        free = [post for post in self._posts if not post.busy]
        for task in self._tasks:
            task.cancel()
        for post in busy:
            fail([ticket for batch in post.batches for ticket in batch], error)
        await asyncio.gather(*(post.worker.kill() for post in busy), *(post.worker.close() for post in free))
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._posts.clear()

    async def _drain(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.busy:  # a stream is without a task between two chunks
                    self._task_ended.clear()
                    await self._task_ended.wait()

    async def _man(self) -> None:
        """Put one more worker to its post; where its process did not live to load, try once more."""
        try:
            worker = await self._start()
        except StartFailed as error:
            _logger.warning("A worker of %s did not start, and is tried again: %s", self.source.key, error)
            worker = await self._start()
        if not worker.loaded.preloaded:
            _logger.warning("The template could not import all it should; each worker pays for that itself.")
        self._streamable = worker.loaded.streamable
        self._posts.append(Post(worker, self._loop.time()))
        self._dispatch()

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

    def _dispatch(self) -> None:
        """Hand out what waits to whoever is free; called whenever either changes."""
        while self._batcher.waiting and (post := self._free_post()) is not None:
            tickets = self._batcher.take()
            if not tickets:
                return
            self._give(post, tickets)

    def _give(self, post: Post, tickets: list[Ticket]) -> None:
        post.give(tickets)
        self._running += 1
        if len(post.batches) == 1:
            self._start_clock(post)
        self._own(asyncio.create_task(self._run(post, tickets)))

    def _free_post(self) -> Post | None:
        post = min(self._posts, key=load, default=None)
        return post if post is not None and post.is_free(self._batcher.depth) else None

    async def _run(self, post: Post, tickets: list[Ticket]) -> None:
        try:
            await self._run_or_retry(post, tickets)
        except asyncio.CancelledError:
            fail(tickets, _closing())
            raise
        finally:
            self._running -= 1
            post.batches.remove(tickets)
            self._start_clock(post)
        self._dispatch()
        if not self.busy:
            self._idle()

    async def _run_or_retry(self, post: Post, tickets: list[Ticket]) -> None:
        try:
            answers = await post.worker.run(tuple(ticket.job for ticket in tickets))
        except WorkerDied as error:
            await self._retry(post, tickets, error)
        else:
            post.hear(tickets, answers)
            self._learn(tickets, answers)
            settle(tickets, answers)

    def _learn(self, tickets: list[Ticket], answers: tuple[Answer, ...]) -> None:
        for answer in answers:
            if isinstance(answer, Reply):
                self._batcher.learn(answer.seconds)
        if isinstance(tickets[0].job, Stop) and isinstance(failed := answers[0], Failure):
            key = self.source.key
            _logger.warning("A stream of %s did not close in order: %s\n%s", key, failed.message, failed.log)

    async def _retry(self, post: Post, tickets: list[Ticket], error: WorkerDied) -> None:
        """Queue again what the dead worker held; only the batch that it ran is to blame."""
        self._lost(post.worker)
        if post.batches[0] is tickets and not post.blamed:
            for ticket in tickets:
                ticket.deaths += 1
        post.blamed = True
        fail([ticket for ticket in tickets if ticket.deaths >= _DEATHS], error)
        await asyncio.sleep(_NEWS_SECONDS)  # another worker may have died with it: do not give it this
        self._batcher.give_back(tickets)

    def _start_clock(self, post: Post) -> None:
        """Give the batch that the worker runs now its time; a worker that exceeds it is hung."""
        if post.clock is not None:
            post.clock.cancel()
        post.clock = (
            self._loop.call_later(self._limits.request_seconds, self._hung, post) if post.batches else None
        )

    def _hung(self, post: Post) -> None:
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
        self._task_ended.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("A task of %s failed.", self.source.key, exc_info=error)


def _bound(ask: Next | Stop) -> Ticket:
    """What concerns an open stream, which only the worker that holds it can answer."""
    ticket = Ticket(ask, queued=False)
    ticket.deaths = _DEATHS
    return ticket


def _closing() -> PoolClosed:
    return PoolClosed("The gateway is shutting down.")
