"""Which models' files this process found intact, and whether anybody touched them since."""

from __future__ import annotations

import os
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from workers.protocol.messages import ModelKey


Stamp = frozenset[tuple[str, int, int, int, int, int]]


def stamp(folder: Path) -> Stamp:
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


_MOST: Final = 2000  # kilobytes each; one that was forgotten is only digested again


class Intact:
    """The last stamp of each folder that was digested; threads may share it."""

    def __init__(self, *, most: int = _MOST) -> None:
        self._most = most
        self._stamps: OrderedDict[ModelKey, Stamp] = OrderedDict()
        self._lock = Lock()

    def note(self, key: ModelKey, found: Stamp) -> None:
        """The model was found intact with this stamp. The one that was noted first is forgotten."""
        with self._lock:
            self._stamps[key] = found
            self._stamps.move_to_end(key)
            if len(self._stamps) > self._most:
                self._stamps.popitem(last=False)

    def holds(self, key: ModelKey, folder: Path) -> bool:
        """Whether the model in `folder` was found intact, and is as it was then. Reads the disk."""
        with self._lock:
            known = self._stamps.get(key)
        return known is not None and known == stamp(folder)
