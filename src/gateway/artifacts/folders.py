"""Folders of caches on disk: private, without what killed processes left, and removed at once."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gateway.artifacts.layout import remove_tree
from gateway.artifacts.locks import FileLock

if TYPE_CHECKING:
    from pathlib import Path

PARTIAL_LOCK: Final = "lock"
"""The file in a partial folder that its process keeps locked."""


def create_private(root: Path, *folders: Path) -> None:
    """Create `root` and the folders in it, open to this user alone; raise PermissionError for another's."""
    root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in (root, *folders):
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "it belongs to another user", str(folder))
        folder.chmod(0o700)


def remove_abandoned(partials: Path) -> None:
    """Remove what ended processes left in the folder `partials`; call with the cache's lock held."""
    for top in partials.iterdir():
        lock = FileLock(top / PARTIAL_LOCK)
        # The end of a download removes its folder without the lock: it may vanish at any time.
        with suppress(FileNotFoundError):
            if not top.is_dir() or top.is_symlink():
                remove_tree(top)  # the gateway makes only folders here
            elif lock.try_acquire():
                remove_tree(top)
                lock.release()


def discard(folder: Path, partials: Path) -> None:
    """Remove `folder` at once, by one rename to `partials`; after a crash `remove_abandoned` cleans up."""
    trash = partials / secrets.token_hex(16)
    try:
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(0o700)  # a rename needs write permission on a folder
        folder.rename(trash)
    except FileNotFoundError:
        return
    remove_tree(trash)
