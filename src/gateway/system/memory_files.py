"""Files that exist in this process' memory only, for libraries that take nothing but a path."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import ExitStack

_NAME = "gateway"  # shown in /proc, which other processes of this user cannot read


class MemoryFile:
    """A file with a path that only this process, and its forks, can open; `close` removes it.

    Other systems than Linux have no such file: there it is one in the folder for temporary files.
    """

    def __init__(self, content: bytes) -> None:
        self._stack = ExitStack()
        if sys.platform == "linux":
            descriptor = os.memfd_create(_NAME)
            self._stack.callback(os.close, descriptor)
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                file.write(content)
            self.path = f"/proc/self/fd/{descriptor}"
        else:
            named = self._stack.enter_context(tempfile.NamedTemporaryFile())  # noqa: SIM115 - `close` ends it
            named.write(content)
            named.flush()
            self.path = named.name

    def close(self) -> None:
        """Remove the file."""
        self._stack.close()
