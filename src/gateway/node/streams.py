"""The streams of one link: each chunk is computed when the gateway asks for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.engines.wire.fields import WireError
from workers.errors import ModelNotLoaded, WorkerCrashed, WorkerError
from workers.protocol.messages import Chunk, CloseStream, NextChunk, OpenStream

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, KeysView

    from gateway.engines.local import LocalEngine
    from gateway.node.outbox import Outbox
    from workers.prediction_stream import PredictionStream
    from workers.protocol.messages import ModelKey


class LinkStreams:
    """The streams that a gateway has open over one link, by the ids that it gave them."""

    def __init__(self, engine: LocalEngine, outbox: Outbox, *, on_answered: Callable[[int], object]) -> None:
        """`on_answered` is called with the id of each job that has its answer, or needs none any more."""
        self._engine = engine
        self._outbox = outbox
        self._on_answered = on_answered
        self._open: dict[int, PredictionStream] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._opening: set[int] = set()
        self._refuses = False

    @property
    def busy(self) -> bool:
        """Whether a stream is open, or a request for one has no reply yet."""
        return bool(self._tasks or self._open)

    @property
    def job_ids(self) -> KeysView[int]:
        """The ids of the requests without a reply."""
        return self._tasks.keys()

    def refuse(self) -> None:
        """Open no stream any more."""
        self._refuses = True

    def take(self, job_id: int, key: ModelKey, request: OpenStream | NextChunk | CloseStream) -> None:
        """Answer a request for a stream, now or later. Raise WireError if the stream's id is in use."""
        if isinstance(request, OpenStream) and self._refuses:
            self._outbox.fail(job_id, ModelNotLoaded(f"{key} is not loaded: the node is being stopped."))
            self._on_answered(job_id)
        elif isinstance(request, OpenStream):
            if request.stream_id in self._open or request.stream_id in self._opening:
                raise WireError("a stream whose id is in use")
            self._opening.add(request.stream_id)
            self._start(job_id, self._begin(job_id, key, request))
        elif isinstance(request, NextChunk):
            self._start(job_id, self._next(job_id, request.stream_id))
        else:
            if (stream := self._open.pop(request.stream_id, None)) is not None:
                stream.close()
            self._outbox.reply(job_id, Chunk(None))

    def cancel(self, job_id: int) -> None:
        """Compute the chunk of that job no more, if it is not there yet."""
        if (task := self._tasks.get(job_id)) is not None:
            task.cancel()

    def close(self) -> None:
        """Close all streams, and answer no request that waits."""
        for task in self._tasks.values():
            task.cancel()
        for stream in self._open.values():
            stream.close()
        self._open.clear()

    def _start(self, job_id: int, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work, name=f"stream, job {job_id}")
        self._tasks[job_id] = task
        task.add_done_callback(lambda _: self._end(job_id))

    def _end(self, job_id: int) -> None:
        self._tasks.pop(job_id, None)
        self._on_answered(job_id)

    async def _begin(self, job_id: int, key: ModelKey, request: OpenStream) -> None:
        try:
            stream = await self._engine.stream(key, request.job)
        except WorkerError as error:
            self._outbox.fail(job_id, error)
            return
        finally:
            self._opening.discard(request.stream_id)
        self._open[request.stream_id] = stream
        await self._send_chunk(job_id, stream)

    async def _next(self, job_id: int, stream_id: int) -> None:
        if (stream := self._open.get(stream_id)) is None:
            self._outbox.fail(job_id, WorkerCrashed("The node has no such stream any more."))
            return
        await self._send_chunk(job_id, stream)

    async def _send_chunk(self, job_id: int, stream: PredictionStream) -> None:
        try:
            body = await stream.next_body()
        except WorkerError as error:
            self._outbox.fail(job_id, error)
            return
        if body is None or isinstance(body, bytes):
            self._outbox.reply(job_id, Chunk(body, stream.seconds))
        else:
            self._outbox.reply(job_id, Chunk(b"", stream.seconds, body))
