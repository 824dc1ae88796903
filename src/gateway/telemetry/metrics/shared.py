"""Metric snapshots in shared memory: each gateway process writes its own and can read all others."""

from __future__ import annotations

import mmap
import struct
import zlib
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_BUFFER_BYTES: Final = 4 * 2**20
_HEADER: Final = struct.Struct("<QdII")  # sequence number, time, length, and a checksum
_READ_ATTEMPTS: Final = 2  # a writer may overwrite each buffer while a slow reader is at it
_CHECKED_BYTES: Final = _HEADER.size - 4

_HISTORY_BYTES: Final = 8 * 2**20

StoredSnapshot = tuple[int, float, bytes]
"""A sequence number, the time of writing, and the content."""


class SharedSnapshots:
    """A set of snapshots, one for each process, mapped before the processes are forked.

    A snapshot outlives its writer. It has two buffers, written in turn: if a writer is killed or read while
    it writes one, the other one is complete. Pages that were never written take no memory.
    """

    def __init__(
        self, count: int, *, buffer_bytes: int = _BUFFER_BYTES, clock: Callable[[], float] = monotonic
    ) -> None:
        """`clock` must read the same time in all processes."""
        self._buffer_bytes = buffer_bytes
        self._clock = clock
        self._sequence_numbers: dict[int, int] = {}  # of the snapshots that this process writes
        self._maps = [mmap.mmap(-1, 2 * buffer_bytes) for _ in range(count)]

    def __len__(self) -> int:
        return len(self._maps)

    def write(self, number: int, content: bytes) -> bool:
        """Write the snapshot of process `number` (from 1); return False if it is too large."""
        if len(content) > self._buffer_bytes - _HEADER.size:
            return False
        memory, sequence_number = self._maps[number - 1], self._next_sequence_number(number)
        start = sequence_number % 2 * self._buffer_bytes
        head = _HEADER.pack(sequence_number, self._clock(), len(content), 0)[:_CHECKED_BYTES]
        checksum = _checksum(head, content).to_bytes(4, "little")
        memory[start : start + _CHECKED_BYTES] = head
        memory[start + _HEADER.size : start + _HEADER.size + len(content)] = content
        memory[start + _CHECKED_BYTES : start + _HEADER.size] = checksum
        return True

    def _next_sequence_number(self, number: int) -> int:
        if number not in self._sequence_numbers:
            latest = self._read_latest(number)
            self._sequence_numbers[number] = latest[0] if latest else 0
        self._sequence_numbers[number] += 1
        return self._sequence_numbers[number]

    def read(self, number: int) -> tuple[bytes, float] | None:
        """Return the latest complete snapshot of process `number` and its age in seconds, or None."""
        latest = self._read_latest(number)
        return None if latest is None else (latest[2], self._clock() - latest[1])

    def _read_latest(self, number: int) -> StoredSnapshot | None:
        memory = self._maps[number - 1]
        for _ in range(_READ_ATTEMPTS):
            buffers = (self._read_buffer(memory, start) for start in (0, self._buffer_bytes))
            if latest := max((buffer for buffer in buffers if buffer), default=None):
                return latest
        return None

    def _read_buffer(self, memory: mmap.mmap, start: int) -> StoredSnapshot | None:
        head = memory[start : start + _HEADER.size]
        sequence_number, written_at, length, checksum = _HEADER.unpack(head)
        if not sequence_number or length > self._buffer_bytes - _HEADER.size:
            return None
        content = memory[start + _HEADER.size : start + _HEADER.size + length]
        is_complete = _checksum(head[:_CHECKED_BYTES], content) == checksum
        return (sequence_number, written_at, content) if is_complete else None


@dataclass(frozen=True, slots=True)
class SharedTelemetry:
    """What gateway processes tell each other of what they measured and logged."""

    metrics: SharedSnapshots
    history: SharedSnapshots
    events: SharedSnapshots
    states: SharedSnapshots

    @classmethod
    def create(cls, count: int) -> SharedTelemetry:
        """Return the memory for `count` processes, before they are forked."""
        return cls(
            SharedSnapshots(count),
            SharedSnapshots(count, buffer_bytes=_HISTORY_BYTES),
            SharedSnapshots(count),
            SharedSnapshots(count),
        )


def _checksum(head: bytes, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(head))
