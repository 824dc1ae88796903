"""Decide from what `stat` says when a file must be read again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    Signature = tuple[int, ...] | None

_MOST_POSTPONED: Final = 2  # looks, of a file that changes all the time


def signature(path: Path) -> Signature:
    """Return what changes with a file, also if a link leads to another one; None if there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class ChangeDetector:
    """A detector that waits until a file stays the same from one look to the next: it may be half written.

    After each reading that found something new it asks for another one at the next look. A second change
    within the same tick of the file system's clock shows in no other way.
    """

    def __init__(self) -> None:
        self._last: Signature = None
        self._read: Signature = None
        self._postponed = 0
        self._again = False

    def must_read(self, seen: Signature) -> bool:
        """Return whether the file must be read now."""
        if seen == self._read:
            self._last, self._postponed = seen, 0
            return self._again
        if seen != self._last and self._postponed < _MOST_POSTPONED:
            self._last = seen
            self._postponed += 1
            return False
        return True

    def was_read(self, seen: Signature, *, changed: bool) -> None:
        """Note a reading; `seen` is what `signature` returned before it."""
        self._last = self._read = seen
        self._postponed = 0
        self._again = changed
