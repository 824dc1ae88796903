"""Give each worker process a folder of its own for temporary files, which is removed when the process ends.

Models leave temporary files behind, and so does every process that is killed.
"""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

_MAX_ENTRIES: Final = 10_000
_MAX_SECONDS: Final = 60.0  # a process that still runs may put in entries as fast as they are removed
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_COMPILE_CACHE_VARIABLE: Final = "TORCHINDUCTOR_CACHE_DIR"  # the next worker must not compile it again


def new_path() -> str:
    """Return a path for a new folder beside this process' temporary files."""
    return str(Path(tempfile.gettempdir(), f"worker-{secrets.token_hex(8)}"))


def use(path: str) -> bool:
    """Create a folder at `path` for the temporary files of this process and of those that it starts.

    Return False if it cannot be created; they then stay in the folder before.
    """
    before = tempfile.gettempdir()
    with suppress(OSError):
        Path(path).mkdir(mode=0o700)
        os.environ.setdefault(_COMPILE_CACHE_VARIABLE, str(Path(before, f"torchinductor_{os.geteuid()}")))
        os.environ["TMPDIR"] = tempfile.tempdir = path
        return True
    return False


def remove(path: str) -> None:
    """Remove a folder of a worker that has ended, as far as possible. Blocks.

    A model may have made folders in folders of any depth, so each is moved up before it is looked into. Its
    processes may still run, and put links in place of folders: no link is followed.
    """
    deadline = time.monotonic() + _MAX_SECONDS
    with suppress(OSError):
        top = os.open(path, _FOLDER)
        try:
            while (entries := _first_entries(top)) and time.monotonic() < deadline:
                if not sum(_remove_entry(entry, top) for entry in entries):
                    break  # nothing of this can be removed
        finally:
            os.close(top)
        Path(path).rmdir()


def _first_entries(folder: int) -> list[str]:
    """Return some of the names in an open folder, which may have any number."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in islice(entries, _MAX_ENTRIES)]


def _remove_entry(name: str, top: int) -> bool:
    """Remove a file, or a folder whose folders are moved to `top`; return False if it cannot be removed."""
    try:
        try:
            os.unlink(name, dir_fd=top)
        except (IsADirectoryError, PermissionError):  # what it is for a folder depends on the system
            _remove_folder(name, top)
    except OSError:
        return False
    return True


def _remove_folder(name: str, top: int) -> None:
    if os.chmod in os.supports_follow_symlinks:
        with suppress(OSError):
            os.chmod(name, 0o700, dir_fd=top, follow_symlinks=False)
    folder = os.open(name, _FOLDER, dir_fd=top)
    try:
        with suppress(OSError):
            os.fchmod(folder, 0o700)
        for below in _first_entries(folder):
            try:
                os.unlink(below, dir_fd=folder)
            except (IsADirectoryError, PermissionError):
                os.rename(below, f"moved-{secrets.token_hex(8)}", src_dir_fd=folder, dst_dir_fd=top)
    finally:
        os.close(folder)
    try:
        os.rmdir(name, dir_fd=top)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:  # else it had more entries than that: it is looked into again
            raise
