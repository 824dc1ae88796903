"""Proves that what is written down is read whole or not at all, whoever dies meanwhile."""

from __future__ import annotations

import mmap
import os
from typing import Any

import pytest

from gateway.telemetry.metrics.shared import SharedSnapshots


def test_a_child_writes_and_its_parent_reads() -> None:
    """Also when the child is gone; the other slates are as they were."""
    slates = SharedSnapshots(2)
    child = os.fork()
    if child == 0:
        slates.write(2, b"first")
        slates.write(2, b"last words")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    written = slates.read(2)
    assert written is not None
    assert written[0] == b"last words"
    assert slates.read(1) is None


def test_the_age() -> None:
    """It is counted from the writing."""
    now = 100.0
    slates = SharedSnapshots(1, clock=lambda: now)
    slates.write(1, b"x")
    now = 107.5
    assert slates.read(1) == (b"x", 7.5)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("at", ["turn", "content", "checksum"])
def test_a_half_that_is_not_whole(times: int, at: str) -> None:
    """What was written before it counts, and the next writer writes over it."""
    half = 4096
    slates = SharedSnapshots(1, buffer_bytes=half)
    for time in range(times):
        slates.write(1, b"%d" % time)
    begin = times % 2 * half  # where the last one is
    offset = {"turn": 0, "content": 24, "checksum": 20}[at]
    slates._maps[0][begin + offset] ^= 0xFF
    read = slates.read(1)
    assert (read and read[0]) == (b"%d" % (times - 2) if times > 1 else None)
    slates.write(1, b"next")
    again = slates.read(1)
    assert again is not None
    assert again[0] == b"next"


def test_too_much() -> None:
    """It is refused, and what was there before stays."""
    slates = SharedSnapshots(1, buffer_bytes=4096)
    assert slates.write(1, b"x" * (4096 - 24))
    assert not slates.write(1, b"y" * (4096 - 23))
    read = slates.read(1)
    assert read is not None
    assert read[0] == b"x" * (4096 - 24)


class Overtaken(mmap.mmap):
    """Memory that is written while it is read: so many looks at a half find it torn."""

    torn = 0

    def __getitem__(self, where: Any) -> Any:
        found = super().__getitem__(where)
        if self.torn and isinstance(found, bytes) and len(found) == 24:
            self.torn -= 1
            return bytes([found[0] ^ 0xFF]) + found[1:]
        return found


@pytest.mark.parametrize(("torn", "found"), [(0, b"2"), (1, b"1"), (2, b"2"), (4, None)])
def test_a_reader_that_is_overtaken(torn: int, found: bytes | None) -> None:
    """It looks once more where neither half was whole: the figures must not be gone for a moment."""
    slates = SharedSnapshots(1, buffer_bytes=4096)
    slate = Overtaken(-1, 8192)
    slates._maps[0] = slate
    slates.write(1, b"1")
    slates.write(1, b"2")
    slate.torn = torn
    read = slates.read(1)
    assert (read and read[0]) == found
