"""The file descriptors that this process may have, and how many of them clients' connections may take."""

from __future__ import annotations

import errno
import os
import resource
from contextlib import suppress
from typing import Final

_MOST: Final = 65_536  # some programs go through every descriptor that they could have
_OF_THE_GATEWAY: Final = 128  # its log, its files, its connections to MLflow and to stores
_OF_A_WORKER: Final = 16  # pipes, sockets and what starts it


def allow_many() -> None:
    """Let this process, and the workers that it starts, have as many as the system lets it choose."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # some systems refuse what they said they allow
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def for_connections(*, workers: int) -> int:
    """How many connections leave descriptors for so many workers and for files; half of all at least."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        limit = _MOST
    return max(limit // 2, limit - _OF_THE_GATEWAY - workers * _OF_A_WORKER)


def used_up() -> bool:
    """Whether there is none to be had now."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno not in {errno.EMFILE, errno.ENFILE}:
            raise
        return True
    return False
