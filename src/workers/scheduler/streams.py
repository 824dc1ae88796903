"""The open streams of one model version: each has one of its workers to itself."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from workers.errors import PoolClosed, PredictionTimeout, StreamingNotSupported, WorkerCrashed
from workers.prediction_stream import PredictionStream
from workers.protocol.messages import CloseStream, NextChunk, OpenStream

if TYPE_CHECKING:
    from workers.limits import PoolLimits
    from workers.protocol.messages import Chunk, Job
    from workers.scheduler.dispatcher import Dispatcher
    from workers.scheduler.worker_slot import WorkerSlot


class StreamManager:
    """Opens, advances and stops streams; each is known to its worker by a number."""

    def __init__(self, dispatcher: Dispatcher, limits: PoolLimits) -> None:
        self._loop = asyncio.get_running_loop()
        self._dispatcher = dispatcher
        self._max_seconds = limits.stream_seconds
        self._ids = count(1)
        self._closed = False

    async def open(self, job: Job, *, streamable: bool) -> PredictionStream:
        """The job's answer in chunks, of which the first is there; the caller closes it.

        Raises StreamRefused where the model is not `streamable`, and what `Dispatcher.answer` raises.
        """
        if not streamable:
            raise StreamingNotSupported(
                "This model has no predict_stream: it answers in one piece, without stream."
            )
        number = next(self._ids)
        try:
            first: Chunk = await self._dispatcher.submit(OpenStream(job, number))
        except BaseException:
            self._close_stream(number)
            raise
        ends = self._loop.time() + self._max_seconds if self._max_seconds else None
        return PredictionStream(
            first,
            request_next=partial(self._next_chunk, number, ends),
            on_close=partial(self._close_stream, number),
        )

    def close(self) -> None:
        """Advance and stop none any more: their workers are being ended."""
        self._closed = True

    async def _next_chunk(self, number: int, ends: float | None) -> Chunk:
        if self._closed:
            raise PoolClosed("The model is being unloaded.")
        if ends is not None and self._loop.time() >= ends:
            raise PredictionTimeout(f"The stream took longer than {self._max_seconds:g} s.")
        if (post := self._find_slot(number)) is None:
            raise WorkerCrashed("The worker's process ended.")
        chunk: Chunk = await self._dispatcher.submit_to(post, NextChunk(number))
        return chunk

    def _close_stream(self, number: int) -> None:
        """Have the stream closed where it is open still, or is being opened."""
        post = self._find_slot(number)
        if post is not None and not self._closed:
            self._dispatcher.send(post, CloseStream(number))

    def _find_slot(self, number: int) -> WorkerSlot | None:
        return next((post for post in self._dispatcher.slots if post.stream_id == number), None)
