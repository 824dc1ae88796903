"""Advance the one stream that a worker may have open, chunk by chunk."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from workers.errors import ModelError
from workers.protocol.messages import Chunk, CloseStream, OpenStream

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from workers.protocol.messages import Job, NextChunk


class StreamSession:
    """A holder of one generator of JSON chunks, under the id that the gateway gave the stream."""

    def __init__(self) -> None:
        self._stream_id = 0
        self._chunks: Generator[bytes, None, None] | None = None

    def handle(
        self,
        request: OpenStream | NextChunk | CloseStream,
        open_stream: Callable[[Job], Generator[bytes, None, None]],
    ) -> Chunk:
        """Open the stream of a job, advance the open one, or close it.

        Exceptions of the model end the stream and are not caught.
        """
        if isinstance(request, CloseStream):
            self._close(request.stream_id)
            return Chunk(None)
        if isinstance(request, OpenStream):
            with suppress(BaseException):  # how an earlier stream ends does not concern this one
                self._close(self._stream_id)
            self._stream_id, self._chunks = request.stream_id, open_stream(request.job)
        if self._chunks is None or request.stream_id != self._stream_id:
            raise ModelError("The worker has no such stream.")
        try:
            body = next(self._chunks, None)
        except BaseException:
            self._chunks = None
            raise
        if body is None:
            self._chunks = None
        return Chunk(body)

    def _close(self, stream_id: int) -> None:
        if self._chunks is not None and stream_id == self._stream_id:
            chunks, self._chunks = self._chunks, None
            chunks.close()
