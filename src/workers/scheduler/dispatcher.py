"""Hands what waits for a model version to whichever of its workers is free, and sees to the answers."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from workers.errors import OutOfTime, PoolClosed, QueueFull, WorkerDied
from workers.metrics import JOBS_DROPPED, JOBS_RETRIED, QUEUE_REFUSALS
from workers.protocol.messages import Failure, Reply, Stop
from workers.scheduler.background import Errands
from workers.scheduler.batch_sizing import Pace
from workers.scheduler.deadlines import Deadlines
from workers.scheduler.queue import Batcher, Ticket
from workers.scheduler.results import fail, settle
from workers.scheduler.retry import DEATHS, Retries, blame
from workers.scheduler.worker_slot import Post, load

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.limits import Limits
    from workers.metrics import Event, Tally
    from workers.process.channel import Heard
    from workers.process.worker import Worker
    from workers.protocol.messages import Answer, Job, Loaded, Merging, ModelKey, Next, Open

logger = logging.getLogger(__name__)


class Dispatcher:
    """The queue of one model version, and the posts that serve it.

    A worker that becomes free takes what waits then. Its batch has the request's time; a worker that
    exceeds it is ended. `lost` is told of a worker whose process has ended, `idle` whenever the last
    job is done.
    """

    def __init__(
        self,
        key: ModelKey,
        limits: Limits,
        *,
        lost: Callable[[Worker], None],
        idle: Callable[[], None],
        tally: Tally,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._key = key
        self._limits = limits
        self._lost = lost
        self._idle = idle
        self._tally = tally
        self._batcher = Batcher(limit=limits.max_queue)
        self._deadlines = Deadlines(limits.request_seconds, expired=self._expire)
        self._pace = Pace(merging=False)
        self._scheduled = False
        self._errands = Errands(key)
        self._over = asyncio.Event()
        self._wanted = asyncio.Event()
        self._served = False
        self._retries = Retries(due=self._retry)
        self._leaving: set[Post] = set()
        self._closed = False
        self._given_up: Exception | None = None
        self.posts: list[Post] = []
        self.used = self._loop.time()

    @property
    def busy(self) -> bool:
        """Whether a job waits or runs (in a worker that has just died, too), or a stream is open."""
        return self.waiting > 0 or bool(self._leaving) or any(post.busy for post in self.posts)

    @property
    def waiting(self) -> int:
        """How many jobs wait, for the first time or again."""
        return self._batcher.waiting + self._retries.waiting

    @property
    def running(self) -> int:
        """How many jobs the workers have been given, the open streams' questions among them."""
        return sum(len(batch) for post in (*self.posts, *self._leaving) for batch in post.batches)

    def add(self, post: Post, merging: Merging) -> None:
        """Let a worker serve; `merging` says how its batches are predicted."""
        if not self.posts:
            self._pace = Pace(merging=merging.on)
        if not self._served:  # its life begins; later, what nobody asks for is idle however often it restarts
            self.used = self._loop.time()
        self._served = True
        self._given_up = None
        self._wanted.clear()
        self.posts.append(post)
        self._schedule()

    def remove(self, worker: Worker) -> Post | None:
        """Let a dead worker serve no more; its post, where it still had one.

        What it was given is answered, or run again, once nothing of it can come any more.
        """
        post = next((post for post in self.posts if post.worker is worker), None)
        if post is not None:
            self.posts.remove(post)
            if post.batches:
                self._leaving.add(post)
            elif post.stream is not None:
                self._rest()
        return post

    async def answer(self, ask: Job | Open) -> Any:
        """The answer of whichever worker is free first.

        Raises QueueFull, OutOfTime, PoolClosed, WorkerDied, and what the worker's failure stands for.
        """
        ticket = self._queued(ask)
        if not self.posts:
            self._wanted.set()
        if not self._scheduled:
            self._schedule()
        return await self._answered(ticket)

    async def answer_of(self, post: Post, ask: Next) -> Any:
        """The answer of the one worker that holds a stream; raises likewise."""
        ticket = self._bound(ask)
        self._give(post, [ticket])
        return await self._answered(ticket)

    def tell(self, post: Post, ask: Stop) -> None:
        """Have a worker do something that nobody waits for."""
        ticket = self._bound(ask)
        ticket.future.cancel()
        self._give(post, [ticket])

    def fail(self, error: Exception) -> None:
        """Answer everything that waits with `error`, and what was to be tried again, since nobody comes."""
        self._given_up = error
        self._batcher.fail(error)
        self._rest()

    async def until_wanted(self, seconds: float) -> None:
        """Wait so long, or until something waits that nobody is there to answer."""
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wanted.wait()

    async def drain(self, seconds: float) -> None:
        """Wait until nothing waits or runs any more, for at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.busy:
                    self._over.clear()
                    await self._over.wait()

    async def close(self) -> None:
        """Answer all with PoolClosed, and end every worker."""
        self._closed = True
        error = _closing()
        self._batcher.fail(error)
        busy = [post for post in self.posts if post.busy]
        free = [post for post in self.posts if not post.busy]
        self._errands.cancel()
        for post in (*busy, *self._leaving):
            fail([ticket for batch in post.batches for ticket in batch], error)
        self._retries.fail(error)
        await asyncio.gather(*(post.worker.kill() for post in busy), *(post.worker.close() for post in free))
        await self._errands.join()
        self.posts.clear()
        self._deadlines.close()

    def _queued(self, ask: Job | Open) -> Ticket:
        """Queue a job. Raises QueueFull, also where it would wait for longer than it has time."""
        waiting = self._batcher.waiting
        try:
            if waiting and (wait := self._expected_wait(waiting)) > self._limits.request_seconds:
                raise QueueFull(
                    f"{waiting} requests wait for this version, about {wait:.0f} s.", seconds=wait
                )
            return self._batcher.put(ask)
        except QueueFull as error:
            error.seconds = error.seconds or self._expected_wait(waiting)
            self._count(QUEUE_REFUSALS)
            raise

    def _expected_wait(self, jobs: int) -> float:
        """Seconds until so many jobs are done, by the latest ones; 0 where nothing is known of the model."""
        return jobs * self._pace.seconds / max(1, len(self.posts))

    def _count(self, event: Event, times: int = 1) -> None:
        self._tally.count(event, self._key.name, self._key.version, times=times)

    async def _answered(self, ticket: Ticket) -> Any:
        future = ticket.future
        self.used = self._loop.time()
        watched = self._deadlines.watch(future)
        try:
            return await future
        finally:
            watched.discard(future)
            if ticket.queued:
                self._count(JOBS_DROPPED)
                self._batcher.withdraw(ticket)
                self._rest()

    def _expire(self, future: asyncio.Future[Any]) -> None:
        future.set_exception(
            OutOfTime(f"The model did not answer within {self._limits.request_seconds:g} s.")
        )

    def _schedule(self) -> None:
        """Hand out once all that is ready now has had its turn: its jobs go in one batch, and none waits."""
        self._scheduled = True
        self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Hand out what waits to whoever is free; called whenever either changes. Never raises."""
        self._scheduled = False
        try:
            while self._batcher.waiting and (post := self._free_post()) is not None:
                tickets = self._batcher.take(self._pace.most_jobs)
                if not tickets:
                    return
                self._give(post, tickets)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for what is not handed out
            self._batcher.fail(error)
            self._loop.call_exception_handler({"message": "Handing out jobs failed.", "exception": error})

    def _free_post(self) -> Post | None:
        post = min((post for post in self.posts if post.worker.reachable), key=load, default=None)
        return post if post is not None and post.is_free(self._pace.depth) else None

    def _give(self, post: Post, tickets: list[Ticket]) -> None:
        post.give(tickets)
        if len(post.batches) == 1:
            self._start_clock(post)
        try:
            post.worker.run([ticket.job for ticket in tickets], partial(self._hear, post, tickets))
        except Exception as error:  # nothing was sent, and nothing will be heard
            post.batches.remove(tickets)
            post.hear(tickets, ())
            self._start_clock(post)
            fail(tickets, error)
            raise

    def _hear(self, post: Post, tickets: list[Ticket], heard: Heard) -> None:
        """A worker has answered a batch, or is dead."""
        post.batches.popleft()
        if not post.batches:
            self._leaving.discard(post)
        self._start_clock(post)
        if isinstance(heard, WorkerDied):
            self._run_again(post, tickets, heard)
        else:
            answers, seconds = heard
            post.hear(tickets, answers)
            self._learn(tickets, answers, seconds)
            settle(tickets, answers)
        self._turn()

    def _turn(self) -> None:
        """Something is over: go on with what waits, or tell that nothing does."""
        self._dispatch()
        self._rest()

    def _rest(self) -> None:
        """Tell that nothing waits or runs any more, where that is so: somebody may wait for it."""
        if not self.busy:
            self._over.set()
            self._idle()

    def _learn(self, tickets: list[Ticket], answers: tuple[Answer | Loaded, ...], seconds: float) -> None:
        if all(
            type(answer) is Reply for answer in answers
        ):  # refusals are quick, and say nothing of the model
            self._pace.learn(len(tickets), seconds)
        if isinstance(tickets[0].job, Stop) and answers and isinstance(failed := answers[0], Failure):
            logger.warning(
                "A stream of %s did not close in order: %s\n%s", self._key, failed.message, failed.log
            )

    def _run_again(self, post: Post, tickets: list[Ticket], error: WorkerDied) -> None:
        """Have what the dead worker held run again elsewhere, unless too many died of it."""
        post.at_work = True
        self._lost(post.worker)
        fail(blame(post, tickets, error), error)
        if self._closed:
            fail(tickets, _closing())
            return
        self._count(JOBS_RETRIED, sum(not ticket.future.done() for ticket in tickets))
        self._retries.add(tickets)

    def _retry(self, tickets: list[Ticket]) -> None:
        if self._given_up is not None:
            fail(tickets, self._given_up)
        self._batcher.give_back(tickets)
        if not self._closed:
            self._turn()

    def _start_clock(self, post: Post) -> None:
        """Give the batch that the worker runs now its time; a worker that exceeds it is hung.

        Who waits for it is told before, that it is out of time.
        """
        if post.clock is not None:
            post.clock.cancel()
        seconds = self._limits.request_seconds + 2 * self._deadlines.step
        post.clock = self._loop.call_later(seconds, self._hung, post) if post.batches else None

    def _hung(self, post: Post) -> None:
        logger.error(
            "A worker of %s has not answered for %g s: it is ended and replaced.",
            self._key,
            self._limits.request_seconds,
        )
        post.hung = True
        self._errands.begin(post.worker.kill())

    def _bound(self, ask: Next | Stop) -> Ticket:
        """What concerns an open stream, which only the worker that holds it can answer."""
        ticket = Ticket(ask, self._loop.create_future(), queued=False)
        ticket.deaths = DEATHS
        return ticket


def _closing() -> PoolClosed:
    return PoolClosed("The model is being unloaded.")
