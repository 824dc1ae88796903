"""A private folder for the temporary files of one gateway process."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)
_PREFIX: Final = "gateway-"
_MARKER: Final = (
    ".of-a-gateway-process"  # folders without it are never removed: another program may use the prefix
)
_MAX_ATTEMPTS: Final = 10


@contextmanager
def private_tempdir() -> Iterator[Path]:
    """Create a folder for the temporary files of this process, and remove it when the context ends.

    `tempfile` uses it meanwhile. Folders of this user's gateway processes that were killed are removed first:
    the system has released their locks. Raise OSError if no folder can be created.
    """
    with private_folder() as folder, _use_for_tempfile(folder):
        yield folder


@contextmanager
def private_folder() -> Iterator[Path]:
    """Create a folder for this process and those that it forks, and remove it when the context ends.

    Folders of this user's gateway processes that were killed are removed first. Raise OSError if no folder
    can be created.
    """
    parent = Path(tempfile.gettempdir())
    _remove_stale(parent)
    with ExitStack() as stack:
        folder = _create(parent, stack)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


def _create(parent: Path, stack: ExitStack) -> Path:
    """Create a folder and lock it until `stack` unwinds; only a locked folder gets the marker."""
    for _ in range(_MAX_ATTEMPTS):
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        with ExitStack() as undo:
            if _try_lock(folder, undo):
                (folder / _MARKER).touch()
                stack.push(undo.pop_all())
                return folder
    raise OSError(f"no folder could be created and locked in {parent}")


@contextmanager
def _use_for_tempfile(folder: Path) -> Iterator[None]:
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def _remove_stale(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError), ExitStack() as stack:
            owned = folder.lstat().st_uid == os.geteuid() and (folder / _MARKER).is_file()
            if owned and _try_lock(folder, stack):
                shutil.rmtree(folder)
                extra = {"event": "stale_tempdir_removed", "folder": str(folder)}
                logger.info("Removed %s, left by a gateway process that was killed", folder, extra=extra)


def _try_lock(folder: Path, stack: ExitStack) -> bool:
    """Lock `folder` until `stack` unwinds; return False if it is gone or another process has locked it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        stack.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
