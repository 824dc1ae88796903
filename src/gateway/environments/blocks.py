"""Counts the bytes that folders take on the disk; a file with several names counts once."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Blocks = dict[tuple[int, int], int]
"""The bytes on the disk of each file, by device and inode."""

_BLOCK_BYTES = 512


def blocks_of(folder: Path) -> Blocks:
    """Return the blocks of all files and folders in `folder`; what vanishes meanwhile is left out."""
    found: Blocks = {}
    for top, _, names in os.walk(folder):
        for path in (top, *(os.path.join(top, name) for name in names)):  # noqa: PTH118 - tens of thousands
            try:
                status = os.lstat(path)
            except OSError:
                continue
            found[status.st_dev, status.st_ino] = status.st_blocks * _BLOCK_BYTES
    return found


def total_bytes(parts: Iterable[Blocks]) -> int:
    """Return the bytes of all parts together."""
    union: Blocks = {}
    for part in parts:
        union |= part
    return sum(union.values())


def fingerprint(folder: Path) -> list[int]:
    """Return the number and the bytes of the files in `folder`, without what Python compiled of them.

    Enough to notice files that a crash of the machine has left out or empty.
    """
    count = size = 0
    for top, folders, names in os.walk(folder):
        if "__pycache__" in folders:
            folders.remove("__pycache__")
        for name in names:
            try:
                status = os.lstat(os.path.join(top, name))  # noqa: PTH118 - tens of thousands
            except OSError:
                continue
            count += 1
            size += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return [count, size]
