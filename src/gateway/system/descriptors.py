"""The limit of file descriptors of this process, and the part of it that client connections may use."""

from __future__ import annotations

import errno
import os
import resource
from contextlib import suppress
from typing import Final

_MAX_DESCRIPTORS: Final = 65_536  # some programs loop over all descriptors up to the limit
_GATEWAY_DESCRIPTORS: Final = 128  # the log, files, and connections to MLflow and the stores
_DESCRIPTORS_PER_WORKER: Final = 16  # pipes and sockets, also those that start it


def raise_fd_limit() -> None:
    """Raise the soft limit of this process and its workers to the hard limit, at most 65,536."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = _MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < target:
        with suppress(ValueError, OSError):  # some systems refuse a value below their own hard limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))


def max_connections(*, workers: int) -> int:
    """Return how many connections leave enough descriptors for files and workers; at least half of all."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        limit = _MAX_DESCRIPTORS
    return max(limit // 2, limit - _GATEWAY_DESCRIPTORS - workers * _DESCRIPTORS_PER_WORKER)


def fds_exhausted() -> bool:
    """Return whether this process or the system has no free descriptor now."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno not in {errno.EMFILE, errno.ENFILE}:
            raise
        return True
    return False
