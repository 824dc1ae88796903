"""Memory that the gateway's processes share: each writes down its figures, and everybody reads them."""

from __future__ import annotations

import mmap
import struct
import zlib
from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_HALF_BYTES: Final = 4 * 2**20
_HEAD: Final = struct.Struct("<QdII")  # number of the writing, time, length, and their checksum
_LOOKS: Final = 2  # a slow reader may find each half in the midst of being written
_CHECKED: Final = _HEAD.size - 4

Written = tuple[int, float, bytes]


class Slates:
    """One slate per process, made before any of them is forked; what was last written outlives its writer.

    A slate has two halves, written in turn: a writer that is killed at it, or read at it, leaves the
    other one whole. Pages that were never written take no memory.
    """

    def __init__(
        self, count: int, *, half_bytes: int = _HALF_BYTES, clock: Callable[[], float] = monotonic
    ) -> None:
        """`clock` must be the same in all processes."""
        self._half = half_bytes
        self._clock = clock
        self._turns: dict[int, int] = {}  # of the slates that this process writes
        self._slates = [mmap.mmap(-1, 2 * half_bytes) for _ in range(count)]

    def __len__(self) -> int:
        return len(self._slates)

    def write(self, number: int, content: bytes) -> bool:
        """Write on slate `number`, from 1; only its own process does so. False where it has no room."""
        if len(content) > self._half - _HEAD.size:
            return False
        slate, turn = self._slates[number - 1], self._next_turn(number)
        begin = turn % 2 * self._half
        head = _HEAD.pack(turn, self._clock(), len(content), 0)[:_CHECKED]
        slate[begin : begin + _CHECKED] = head
        slate[begin + _HEAD.size : begin + _HEAD.size + len(content)] = content
        slate[begin + _CHECKED : begin + _HEAD.size] = _checksum(head, content).to_bytes(4, "little")
        return True

    def _next_turn(self, number: int) -> int:
        if number not in self._turns:
            last = self._last(number)
            self._turns[number] = last[0] if last else 0
        self._turns[number] += 1
        return self._turns[number]

    def read(self, number: int) -> tuple[bytes, float] | None:
        """What was last written whole on slate `number`, and how many seconds ago; None: nothing yet."""
        last = self._last(number)
        return None if last is None else (last[2], self._clock() - last[1])

    def _last(self, number: int) -> Written | None:
        slate = self._slates[number - 1]
        for _ in range(_LOOKS):
            halves = (self._whole(slate, begin) for begin in (0, self._half))
            if last := max((half for half in halves if half), default=None):
                return last
        return None

    def _whole(self, slate: mmap.mmap, begin: int) -> Written | None:
        head = slate[begin : begin + _HEAD.size]
        turn, at, length, checksum = _HEAD.unpack(head)
        if not turn or length > self._half - _HEAD.size:
            return None
        content = slate[begin + _HEAD.size : begin + _HEAD.size + length]
        return (turn, at, content) if _checksum(head[:_CHECKED], content) == checksum else None


def _checksum(head: bytes, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(head))
