"""Imported by the template before anything else: its forks fail as long as a file is there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_fork = os.fork


def fork() -> int:
    """What the system does where a limit on processes, or the memory, is reached."""
    if Path(os.environ["NO_MORE_PROCESSES"]).exists():
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return _fork()


os.fork = fork
