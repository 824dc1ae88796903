"""What errors of the cache's disk mean: a full one, or a folder that cannot be used."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gateway.errors import CacheFull, CacheUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE})
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


def is_full(error: OSError) -> bool:
    """Whether `error` means that there is no space left."""
    return error.errno in _NO_ROOM


def is_of_the_moment(error: Exception) -> bool:
    """Whether `error`, as `told` tells it, says nothing of the files: no descriptor was left to look."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_DESCRIPTOR


def free(folder: Path) -> int:
    """The bytes that this process may still write where `folder` is."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


@contextmanager
def told() -> Iterator[None]:
    """Every OSError inside as CacheFull or CacheUnusable."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise CacheFull("The disk of the artifact cache is full: see GATEWAY_CACHE_DIR.") from error
        reason = error.strerror or type(error).__name__
        raise CacheUnusable(
            f"The folder of the artifact cache, GATEWAY_CACHE_DIR, cannot be used: {reason}."
        ) from error
