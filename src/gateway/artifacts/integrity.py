"""Remembers which models' files were verified, and detects any change since then."""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

if TYPE_CHECKING:
    from pathlib import Path

    from workers.protocol.messages import ModelKey

StatFingerprint = frozenset[tuple[str, int, int, int, int, int]]

_MAX_ENTRIES: Final = 2000  # kilobytes each; a model without an entry is only digested again


def stat_fingerprint(folder: Path) -> StatFingerprint:
    """Return each file's path, inode, mode, size and times; empty if the folder does not exist.

    The inode's change time cannot be set back by a program, unlike the content's modification time.
    """
    found = set()
    for top, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(top, name)  # noqa: PTH118 - thousands of files: a Path for each costs more than the stat
            try:
                status = os.lstat(path)
            except OSError:
                continue
            times = status.st_mtime_ns, status.st_ctime_ns
            found.add((path, status.st_ino, status.st_mode, status.st_size, *times))
    return frozenset(found)


class VerifiedFiles:
    """A thread-safe record of the fingerprints that models' folders had when they were verified."""

    def __init__(self, *, max_entries: int = _MAX_ENTRIES) -> None:
        self._fingerprints: LRUCache[ModelKey, StatFingerprint] = LRUCache(max_entries)
        self._lock = Lock()

    def record(self, key: ModelKey, fingerprint: StatFingerprint) -> None:
        """Record that the model was verified when its folder had this fingerprint."""
        with self._lock:
            self._fingerprints[key] = fingerprint

    def is_unchanged(self, key: ModelKey, folder: Path) -> bool:
        """Return whether the model in `folder` was verified and has not changed since. Reads the disk."""
        with self._lock:
            known = self._fingerprints.get(key)
        return known is not None and known == stat_fingerprint(folder)
