"""The bodies of a large frame, received into pieces that are never joined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from workers.protocol.large_body import LargeBody

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PIECE_BYTES: Final = 2**20
"""The size of a piece. A frame with larger bodies than that is counted with the memory for answers."""
_COPIED_BYTES: Final = 64 * 1024  # a body up to this size, in a frame of several pieces, is copied out of it


class FrameBody:
    """A buffer of `size` bytes in pieces that are allocated when the one before is full."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._missing = size
        self._pieces: list[memoryview] = []
        self._space = memoryview(b"")

    def space(self) -> memoryview:
        """Return memory for the next bytes; it is not empty as long as any are missing."""
        if not self._space and self._missing:
            self._space = memoryview(bytearray(min(PIECE_BYTES, self._missing)))
            self._pieces.append(self._space)
        return self._space

    def advance(self, size: int) -> None:
        """Record that the first `size` bytes of the space were filled."""
        self._space = self._space[size:]
        self._missing -= size

    def fill(self, data: memoryview) -> None:
        """Copy bytes that have come already."""
        while data:
            space = self.space()
            size = min(len(space), len(data))
            space[:size] = data[:size]
            self.advance(size)
            data = data[size:]

    def bodies(self, *, release: Callable[[int], None], release_later: Callable[[int], None]) -> Bodies:
        """Return the bodies, which are complete. Large ones call `release` when they are no longer held."""
        return Bodies(self._pieces, self._size, release=release, release_later=release_later)


class Bodies:
    """A sequence of bytes of which each slice is a body: bytes, or a `LargeBody` of pieces."""

    def __init__(
        self,
        pieces: list[memoryview],
        size: int,
        *,
        release: Callable[[int], None],
        release_later: Callable[[int], None],
    ) -> None:
        self._pieces = pieces
        self._size = size
        self._release = release
        self._release_later = release_later
        self.large_bytes = 0

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, span: slice) -> bytes | LargeBody:
        start, stop = span.start, min(span.stop, self._size)
        if self._size <= PIECE_BYTES or stop - start <= _COPIED_BYTES:
            return b"".join(self._views(start, stop))
        self.large_bytes += stop - start
        return LargeBody(self._views(start, stop), release=self._release, release_later=self._release_later)

    def _views(self, start: int, stop: int) -> Iterator[memoryview]:
        while start < stop:
            number, offset = divmod(start, PIECE_BYTES)
            view = self._pieces[number][offset : offset + stop - start]
            yield view
            start += len(view)
