"""Memory that the gateway's processes share: each writes down its figures, and everybody reads them."""

from __future__ import annotations

import mmap
import struct
import zlib
from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_BUFFER_BYTES: Final = 4 * 2**20
_HEADER: Final = struct.Struct("<QdII")  # number of the writing, time, length, and their checksum
_READ_ATTEMPTS: Final = 2  # a slow reader may find each half in the midst of being written
_CHECKED_BYTES: Final = _HEADER.size - 4

StoredSnapshot = tuple[int, float, bytes]


class SharedSnapshots:
    """One slate per process, made before any of them is forked; what was last written outlives its writer.

    A slate has two halves, written in turn: a writer that is killed at it, or read at it, leaves the
    other one whole. Pages that were never written take no memory.
    """

    def __init__(
        self, count: int, *, buffer_bytes: int = _BUFFER_BYTES, clock: Callable[[], float] = monotonic
    ) -> None:
        """`clock` must be the same in all processes."""
        self._buffer_bytes = buffer_bytes
        self._clock = clock
        self._sequence_numbers: dict[int, int] = {}  # of the slates that this process writes
        self._maps = [mmap.mmap(-1, 2 * buffer_bytes) for _ in range(count)]

    def __len__(self) -> int:
        return len(self._maps)

    def write(self, number: int, content: bytes) -> bool:
        """Write on slate `number`, from 1; only its own process does so. False where it has no room."""
        if len(content) > self._buffer_bytes - _HEADER.size:
            return False
        slate, turn = self._maps[number - 1], self._next_sequence_number(number)
        begin = turn % 2 * self._buffer_bytes
        head = _HEADER.pack(turn, self._clock(), len(content), 0)[:_CHECKED_BYTES]
        slate[begin : begin + _CHECKED_BYTES] = head
        slate[begin + _HEADER.size : begin + _HEADER.size + len(content)] = content
        slate[begin + _CHECKED_BYTES : begin + _HEADER.size] = _checksum(head, content).to_bytes(4, "little")
        return True

    def _next_sequence_number(self, number: int) -> int:
        if number not in self._sequence_numbers:
            last = self._read_latest(number)
            self._sequence_numbers[number] = last[0] if last else 0
        self._sequence_numbers[number] += 1
        return self._sequence_numbers[number]

    def read(self, number: int) -> tuple[bytes, float] | None:
        """What was last written whole on slate `number`, and how many seconds ago; None: nothing yet."""
        last = self._read_latest(number)
        return None if last is None else (last[2], self._clock() - last[1])

    def _read_latest(self, number: int) -> StoredSnapshot | None:
        slate = self._maps[number - 1]
        for _ in range(_READ_ATTEMPTS):
            halves = (self._read_buffer(slate, begin) for begin in (0, self._buffer_bytes))
            if last := max((half for half in halves if half), default=None):
                return last
        return None

    def _read_buffer(self, slate: mmap.mmap, begin: int) -> StoredSnapshot | None:
        head = slate[begin : begin + _HEADER.size]
        turn, at, length, checksum = _HEADER.unpack(head)
        if not turn or length > self._buffer_bytes - _HEADER.size:
            return None
        content = slate[begin + _HEADER.size : begin + _HEADER.size + length]
        return (turn, at, content) if _checksum(head[:_CHECKED_BYTES], content) == checksum else None


def _checksum(head: bytes, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(head))
