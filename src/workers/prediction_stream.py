"""An answer in chunks, as the gateway's process receives it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from workers.protocol.large_body import LargeBody
    from workers.protocol.messages import Chunk


class PredictionStream:
    """An async iterator of JSON texts, one for each chunk that the model yields.

    The model computes a chunk only on request, so that a slow reader pauses it and no memory fills up.
    The worker serves no other request until `close` is called, which the owner must always do. Iterating
    raises ModelError, PredictionTimeout, WorkerCrashed or PoolClosed; after that the stream is over.
    """

    def __init__(
        self, first: Chunk, *, request_next: Callable[[], Awaitable[Chunk]], on_close: Callable[[], None]
    ) -> None:
        """`request_next` computes the next chunk; `on_close` closes the model's generator if it is open."""
        self.seconds = first.seconds
        self._first: Chunk | None = first
        self._request_next = request_next
        self._on_close = on_close
        self._exhausted = False

    def __aiter__(self) -> PredictionStream:
        return self

    async def __anext__(self) -> bytes:
        if (body := await self.next_body()) is None:
            raise StopAsyncIteration
        return body if isinstance(body, bytes) else b"".join(body)

    async def next_body(self) -> bytes | LargeBody | None:
        """Return the next chunk, a large one in pieces that are not joined; None at the end of the stream.

        Raises what iterating raises.
        """
        if self._exhausted:
            return None
        self._exhausted = True  # stays so if the request for the next chunk raises
        chunk = self._first or await self._request_next()
        self._first = None
        if chunk.body is None:
            return None
        self._exhausted = False
        return chunk.body if chunk.large is None else chunk.large

    def close(self) -> None:
        """Release the worker, which closes the model's generator. Return at once."""
        self._exhausted = True
        self._on_close()
