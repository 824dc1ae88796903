"""Translates OSErrors of the artifact cache to CacheFull and CacheUnusable."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gateway.errors import CacheFull, CacheUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FD_EXHAUSTED_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE})
_DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})


def is_disk_full(error: OSError) -> bool:
    """Return whether `error` means that the disk or quota is full."""
    return error.errno in _DISK_FULL_ERRNOS


def is_transient(error: Exception) -> bool:
    """Return whether `error` was caused by a lack of file descriptors, not by the files."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _FD_EXHAUSTED_ERRNOS


def free_bytes(folder: Path) -> int:
    """Return the bytes that this process can still write to the disk of `folder`."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


@contextmanager
def translate_os_errors(
    cache: str = "artifact cache", *, setting: str = "GATEWAY_CACHE_DIR"
) -> Iterator[None]:
    """Raise every OSError of the block as CacheFull or CacheUnusable of this cache."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise CacheFull(f"The disk of the {cache} is full: see {setting}.") from error
        reason = error.strerror or type(error).__name__
        raise CacheUnusable(f"The folder of the {cache}, {setting}, cannot be used: {reason}.") from error
