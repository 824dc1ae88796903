"""Which models' files this process found intact, and whether anybody touched them since."""

from __future__ import annotations

import os
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from workers.protocol.messages import ModelKey


StatFingerprint = frozenset[tuple[str, int, int, int, int, int]]


def stat_fingerprint(folder: Path) -> StatFingerprint:
    """Each file's path, inode, mode, size and times; empty where the folder is not here.

    The time of the last change of an inode cannot be set back by hand, as that of the content can.
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


_MAX_ENTRIES: Final = 2000  # kilobytes each; one that was forgotten is only digested again


class VerifiedFiles:
    """The last stamp of each folder that was digested; threads may share it."""

    def __init__(self, *, max_entries: int = _MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._fingerprints: OrderedDict[ModelKey, StatFingerprint] = OrderedDict()
        self._lock = Lock()

    def record(self, key: ModelKey, found: StatFingerprint) -> None:
        """The model was found intact with this stamp. The one that was noted first is forgotten."""
        with self._lock:
            self._fingerprints[key] = found
            self._fingerprints.move_to_end(key)
            if len(self._fingerprints) > self._max_entries:
                self._fingerprints.popitem(last=False)

    def is_unchanged(self, key: ModelKey, folder: Path) -> bool:
        """Whether the model in `folder` was found intact, and is as it was then. Reads the disk."""
        with self._lock:
            known = self._fingerprints.get(key)
        return known is not None and known == stat_fingerprint(folder)
