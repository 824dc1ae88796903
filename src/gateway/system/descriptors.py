"""The file descriptors that this process may have, and how many of them clients' connections may take."""

from __future__ import annotations

import errno
import os
import resource
from contextlib import suppress
from typing import Final

_MAX_DESCRIPTORS: Final = 65_536  # some programs go through every descriptor that they could have
_GATEWAY_DESCRIPTORS: Final = 128  # its log, its files, its connections to MLflow and to stores
_DESCRIPTORS_PER_WORKER: Final = 16  # pipes, sockets and what starts it


def raise_fd_limit() -> None:
    """Let this process, and the workers that it starts, have as many as the system lets it choose."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # some systems refuse what they said they allow
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def max_connections(*, workers: int) -> int:
    """How many connections leave descriptors for so many workers and for files; half of all at least."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        limit = _MAX_DESCRIPTORS
    return max(limit // 2, limit - _GATEWAY_DESCRIPTORS - workers * _DESCRIPTORS_PER_WORKER)


def fds_exhausted() -> bool:
    """Whether there is none to be had now."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno not in {errno.EMFILE, errno.ENFILE}:
            raise
        return True
    return False
