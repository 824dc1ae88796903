"""The open streams of one model version; each has a worker to itself."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from workers.errors import ModelError, PoolClosed, PredictionTimeout, StreamingNotSupported, WorkerCrashed
from workers.prediction_stream import PredictionStream
from workers.protocol.messages import CloseStream, NextChunk, OpenStream

if TYPE_CHECKING:
    from workers.limits import PoolLimits
    from workers.protocol.messages import Chunk, Job, ModelKey
    from workers.scheduler.dispatcher import Dispatcher

logger = logging.getLogger(__name__)


class StreamManager:
    """A manager that opens, reads and closes streams; the worker knows each stream by a number."""

    def __init__(self, key: ModelKey, limits: PoolLimits, *, dispatcher: Dispatcher) -> None:
        self._loop = asyncio.get_running_loop()
        self._key = key
        self._dispatcher = dispatcher
        self._max_seconds = limits.stream_seconds
        self._ids = count(1)
        self._closed = False

    async def open(self, job: Job, *, streamable: bool) -> PredictionStream:
        """Return a stream whose first chunk is there; the caller closes it.

        Raise StreamingNotSupported if the model is not `streamable`, else as `Dispatcher.submit` does.
        """
        if not streamable:
            raise StreamingNotSupported(
                "This model has no predict_stream: it answers in one piece, without stream."
            )
        stream_id = next(self._ids)
        try:
            first: Chunk = await self._dispatcher.submit(OpenStream(job, stream_id))
        except BaseException:
            self._close_stream(stream_id)
            raise
        ends_at = self._loop.time() + self._max_seconds if self._max_seconds else None
        return PredictionStream(
            first,
            request_next=partial(self._next_chunk, stream_id, ends_at),
            on_close=partial(self._close_stream, stream_id),
        )

    def close(self) -> None:
        """Request no chunk and close no stream any more, because the workers are being ended."""
        self._closed = True

    async def _next_chunk(self, stream_id: int, ends_at: float | None) -> Chunk:
        if self._closed:
            raise PoolClosed("The model is being unloaded.")
        if ends_at is not None and self._loop.time() >= ends_at:
            raise PredictionTimeout(f"The stream took longer than {self._max_seconds:g} s.")
        if (slot := self._dispatcher.slots.find_stream(stream_id)) is None:
            raise WorkerCrashed("The worker's process ended.")
        chunk: Chunk = await self._dispatcher.submit_to(slot, NextChunk(stream_id))
        return chunk

    def _close_stream(self, stream_id: int) -> None:
        """Have the worker close the stream if it is open, or being opened."""
        slot = self._dispatcher.slots.find_stream(stream_id)
        if slot is not None and not self._closed:
            reply = self._dispatcher.send(slot, CloseStream(stream_id))
            reply.future.add_done_callback(self._on_stream_closed)

    def _on_stream_closed(self, reply: asyncio.Future[Any]) -> None:
        """Log the exception that the model's generator raised when it was closed."""
        if isinstance(error := reply.exception(), ModelError):
            message = "A stream of %s did not close in order: %s\n%s"
            extra = {"event": "stream_close_failed", "model": str(self._key)}
            logger.warning(message, self._key, error, error.log, extra=extra)
