"""A body of many bytes in pieces, so that it is never copied as a whole."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class LargeBody:
    """A body that is read once, piece by piece, and whose bytes are counted until they are read.

    `release` is called with the number of bytes that are no longer held, from the thread of the event
    loop. `release_later` is called if the body is garbage before it was read or closed; it may be called
    from any thread.
    """

    __slots__ = ("_pieces", "_release", "_release_later", "_size")

    def __init__(
        self,
        pieces: Iterable[memoryview],
        *,
        release: Callable[[int], None],
        release_later: Callable[[int], None],
    ) -> None:
        self._pieces = deque(pieces)
        self._size = sum(map(len, self._pieces))
        self._release = release
        self._release_later = release_later

    def __len__(self) -> int:
        """Return the number of bytes that were not read yet."""
        return self._size

    def __iter__(self) -> Iterator[memoryview]:
        """Yield each piece once; it counts until the next is asked for."""
        while self._pieces:
            piece = self._pieces.popleft()
            size = len(piece)
            yield piece
            del piece
            self._forget(size)

    def peek(self) -> memoryview:
        """Return the next piece; empty at the end."""
        return self._pieces[0] if self._pieces else memoryview(b"")

    def skip(self, size: int) -> None:
        """Leave out the next `size` bytes, all of the first piece."""
        self._pieces[0] = self._pieces[0][size:]
        self._forget(size)

    def close(self) -> None:
        """Give up what was not read."""
        self._pieces.clear()
        self._forget(self._size)

    def __del__(self) -> None:
        if self._size:
            self._release_later(self._size)

    def _forget(self, size: int) -> None:
        size = min(size, self._size)  # closed while a piece was being read
        self._size -= size
        if size:
            self._release(size)
