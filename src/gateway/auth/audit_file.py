"""The file of the audit log: appended to line by line, and begun anew when it was renamed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not block
_MODE: Final = 0o640  # it has callers, addresses and models


class AuditFile:
    """A file of lines. Each call raises OSError if it fails; the next one tries again."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = os.open(path, _FLAGS, _MODE)

    def write(self, line: bytes) -> None:
        """Append a line, to a new file if this one was renamed or removed."""
        if self._descriptor < 0 or self._was_renamed():
            self.close()
            self._descriptor = os.open(self._path, _FLAGS, _MODE)
        while line:
            line = line[os.write(self._descriptor, line) :]

    def close(self) -> None:
        """Close it; a second call changes nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):  # nothing is left to be written
                os.close(descriptor)

    def _was_renamed(self) -> bool:
        own = os.fstat(self._descriptor)
        try:
            there = Path(self._path).stat()
        except FileNotFoundError:
            return True
        return (own.st_dev, own.st_ino) != (there.st_dev, there.st_ino)
