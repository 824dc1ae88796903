"""The open streams of one model version: each has one of its workers to itself."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from workers.errors import OutOfTime, PoolClosed, StreamRefused, WorkerDied
from workers.prediction_stream import Stream
from workers.protocol.messages import Next, Open, Stop

if TYPE_CHECKING:
    from workers.limits import Limits
    from workers.protocol.messages import Chunk, Job
    from workers.scheduler.dispatcher import Dispatcher
    from workers.scheduler.worker_slot import Post


class Streams:
    """Opens, advances and stops streams; each is known to its worker by a number."""

    def __init__(self, dispatcher: Dispatcher, limits: Limits) -> None:
        self._loop = asyncio.get_running_loop()
        self._dispatcher = dispatcher
        self._seconds = limits.stream_seconds
        self._numbers = count(1)
        self._closed = False

    async def open(self, job: Job, *, streamable: bool) -> Stream:
        """The job's answer in chunks, of which the first is there; the caller closes it.

        Raises StreamRefused where the model is not `streamable`, and what `Dispatcher.answer` raises.
        """
        if not streamable:
            raise StreamRefused("This model has no predict_stream: it answers in one piece, without stream.")
        number = next(self._numbers)
        try:
            first: Chunk = await self._dispatcher.answer(Open(job, number))
        except BaseException:
            self._stop(number)
            raise
        ends = self._loop.time() + self._seconds if self._seconds else None
        return Stream(first, ask=partial(self._next, number, ends), stop=partial(self._stop, number))

    def close(self) -> None:
        """Advance and stop none any more: their workers are being ended."""
        self._closed = True

    async def _next(self, number: int, ends: float | None) -> Chunk:
        if self._closed:
            raise PoolClosed("The model is being unloaded.")
        if ends is not None and self._loop.time() >= ends:
            raise OutOfTime(f"The stream took longer than {self._seconds:g} s.")
        if (post := self._holder(number)) is None:
            raise WorkerDied("The worker's process ended.")
        chunk: Chunk = await self._dispatcher.answer_of(post, Next(number))
        return chunk

    def _stop(self, number: int) -> None:
        """Have the stream closed where it is open still, or is being opened."""
        post = self._holder(number)
        if post is not None and not self._closed:
            self._dispatcher.tell(post, Stop(number))

    def _holder(self, number: int) -> Post | None:
        return next((post for post in self._dispatcher.posts if post.stream == number), None)
