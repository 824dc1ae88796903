"""One answer in chunks, as the parent has it: each chunk is asked for when it is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from workers.protocol.messages import Chunk


class PredictionStream:
    """An async iterator of JSON texts, one per chunk that the model yields.

    The model makes a chunk only when it is asked for, so that a slow reader holds it up and fills no
    memory. A worker belongs to the stream until `close` is called, which its owner does always. The
    iteration raises OutOfTime, ModelFailed, WorkerDied, PoolClosed; after that it is over.
    """

    def __init__(
        self, first: Chunk, *, request_next: Callable[[], Awaitable[Chunk]], on_close: Callable[[], None]
    ) -> None:
        """`ask` has the next chunk made; `stop` has the model's generator closed, where it still is open."""
        self.seconds = first.seconds
        self._first: Chunk | None = first
        self._request_next = request_next
        self._on_close = on_close
        self._exhausted = False

    def __aiter__(self) -> PredictionStream:
        return self

    async def __anext__(self) -> bytes:
        if self._exhausted:
            raise StopAsyncIteration
        self._exhausted = True  # where asking raises, it stays so
        chunk = self._first or await self._request_next()
        self._first = None
        if chunk.body is None:
            raise StopAsyncIteration
        self._exhausted = False
        return chunk.body

    def close(self) -> None:
        """Let the worker close the model's generator and go on to others; returns at once."""
        self._exhausted = True
        self._on_close()
