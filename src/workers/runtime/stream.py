"""The one stream that a worker's process may have open, advanced as it is asked for chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.errors import ModelFailed
from workers.protocol.messages import Chunk, Open, Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from workers.protocol.messages import Job, Next


class Generation:
    """Holds a generator of JSON texts under the number that the parent gave the stream."""

    def __init__(self) -> None:
        self._number = 0
        self._chunks: Generator[bytes, None, None] | None = None

    def do(self, ask: Open | Next | Stop, stream: Callable[[Job], Generator[bytes, None, None]]) -> Chunk:
        """Open the stream of a job, or go on with the one there is, or close it.

        Whatever the model raises comes through; the stream is over then.
        """
        if isinstance(ask, Stop):
            self._close(ask.stream)
            return Chunk(None)
        if isinstance(ask, Open):
            self._close(self._number)
            self._number, self._chunks = ask.stream, stream(ask.job)
        if self._chunks is None or ask.stream != self._number:
            raise ModelFailed("The worker does not hold this stream.")
        try:
            body = next(self._chunks, None)
        except BaseException:
            self._chunks = None
            raise
        if body is None:
            self._chunks = None
        return Chunk(body)

    def _close(self, number: int) -> None:
        if self._chunks is not None and number == self._number:
            chunks, self._chunks = self._chunks, None
            chunks.close()
