"""The temporary files of one gateway process: in a folder of its own, gone with it or soon after."""

from __future__ import annotations

import fcntl
import logging
import multiprocessing
import os
import shutil
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)
_PREFIX: Final = "gateway-"  # short: a socket lies in the folder, whose whole path has 107 bytes at most
_MARKER: Final = ".of-a-gateway-process"  # others may name their folders alike: those are never removed
_MAX_ATTEMPTS: Final = 10


@contextmanager
def private_tempdir() -> Iterator[Path]:
    """A folder where this process keeps its temporary files until the end of the block, which removes it.

    It lies where temporary files are kept otherwise, and goes for `tempfile` and for the socket of
    multiprocessing's fork server. Before, the folders of this user's processes that were killed are
    removed: the system lets go of a dead process' lock. Raises OSError where no folder can be made.
    """
    parent = Path(tempfile.gettempdir())
    _remove_stale(parent)
    with ExitStack() as stack:
        folder = _create(parent, stack)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.enter_context(_use_for_tempfile(folder))
        yield folder


def _create(parent: Path, stack: ExitStack) -> Path:
    """A new folder, locked until `stack` unwinds; marked only then, so that nobody takes it for one left."""
    for _ in range(_MAX_ATTEMPTS):
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        with ExitStack() as undo:
            if _try_lock(folder, undo):
                (folder / _MARKER).touch()
                stack.push(undo.pop_all())
                return folder
    raise OSError(f"No folder for temporary files could be kept in {parent}.")


@contextmanager
def _use_for_tempfile(folder: Path) -> Iterator[None]:
    config: Any = multiprocessing.current_process()._config  # type: ignore[attr-defined]  # noqa: SLF001 - nothing public sets it
    before = tempfile.tempdir, config.get("tempdir")
    tempfile.tempdir = config["tempdir"] = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir, config["tempdir"] = before


def _remove_stale(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError), ExitStack() as stack:
            ours = folder.lstat().st_uid == os.geteuid() and (folder / _MARKER).is_file()
            if ours and _try_lock(folder, stack):
                shutil.rmtree(folder)
                logger.info("removed %s, which a gateway that was killed had left", folder)


def _try_lock(folder: Path, stack: ExitStack) -> bool:
    """Whether `folder` is there and no process holds it; this one does then, until `stack` unwinds."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        stack.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
