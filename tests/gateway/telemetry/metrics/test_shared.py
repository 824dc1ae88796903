"""Proves that a snapshot is read complete or not at all, even if its writer dies."""

from __future__ import annotations

import mmap
import os
from typing import Any

import pytest

from gateway.telemetry.metrics.shared import SharedSnapshots


def test_a_child_writes_and_its_parent_reads() -> None:
    """Also after the child exited; the other snapshots are unchanged."""
    snapshots = SharedSnapshots(2)
    child = os.fork()
    if child == 0:
        snapshots.write(2, b"first")
        snapshots.write(2, b"last")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    written = snapshots.read(2)
    assert written is not None
    assert written[0] == b"last"
    assert snapshots.read(1) is None


def test_the_age() -> None:
    """It counts from the time of writing."""
    now = 100.0
    snapshots = SharedSnapshots(1, clock=lambda: now)
    snapshots.write(1, b"x")
    now = 107.5
    assert snapshots.read(1) == (b"x", 7.5)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("at", ["sequence number", "content", "checksum"])
def test_a_damaged_buffer(times: int, at: str) -> None:
    """The snapshot before it counts, and the next write replaces the damaged one."""
    buffer_bytes = 4096
    snapshots = SharedSnapshots(1, buffer_bytes=buffer_bytes)
    for time in range(times):
        snapshots.write(1, b"%d" % time)
    start = times % 2 * buffer_bytes  # of the latest snapshot
    offset = {"sequence number": 0, "content": 24, "checksum": 20}[at]
    snapshots._maps[0][start + offset] ^= 0xFF
    read = snapshots.read(1)
    assert (read and read[0]) == (b"%d" % (times - 2) if times > 1 else None)
    snapshots.write(1, b"next")
    again = snapshots.read(1)
    assert again is not None
    assert again[0] == b"next"


def test_a_snapshot_that_is_too_large() -> None:
    """It is rejected, and the one before stays."""
    snapshots = SharedSnapshots(1, buffer_bytes=4096)
    assert snapshots.write(1, b"x" * (4096 - 24))
    assert not snapshots.write(1, b"y" * (4096 - 23))
    read = snapshots.read(1)
    assert read is not None
    assert read[0] == b"x" * (4096 - 24)


class Overtaken(mmap.mmap):
    """Shared memory that a writer changes while it is read: the next `torn` reads of a header are damaged."""

    torn = 0

    def __getitem__(self, where: Any) -> Any:
        found = super().__getitem__(where)
        if self.torn and isinstance(found, bytes) and len(found) == 24:
            self.torn -= 1
            return bytes([found[0] ^ 0xFF]) + found[1:]
        return found


@pytest.mark.parametrize(("torn", "found"), [(0, b"2"), (1, b"1"), (2, b"2"), (4, None)])
def test_a_reader_that_is_overtaken(torn: int, found: bytes | None) -> None:
    """It tries again if neither buffer was complete, so that the metrics never vanish for a moment."""
    snapshots = SharedSnapshots(1, buffer_bytes=4096)
    memory = Overtaken(-1, 8192)
    snapshots._maps[0] = memory
    snapshots.write(1, b"1")
    snapshots.write(1, b"2")
    memory.torn = torn
    read = snapshots.read(1)
    assert (read and read[0]) == found
