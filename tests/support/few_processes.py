"""Make forks fail while the file that NO_MORE_PROCESSES names exists: a preload of the fork server."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from workers.runtime.preload import lean

failed_imports = lean.failed_imports
_fork = os.fork


def fork() -> int:
    """Fail as the system does at a limit on processes or memory."""
    if Path(os.environ["NO_MORE_PROCESSES"]).exists():
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return _fork()


os.fork = fork
