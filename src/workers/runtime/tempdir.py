"""Give each worker process a folder of its own for temporary files, which is removed when the process ends.

Models leave temporary files behind, and so does every process that is killed.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

_MAX_ENTRIES: Final = 10_000  # at once, of which a folder may have any number
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
    """Remove a folder that no process uses any more, as far as possible. Blocks.

    A model may have made folders in folders of any depth: each is moved up before it is looked into.
    """
    with suppress(OSError):
        while entries := list(islice(os.scandir(path), _MAX_ENTRIES)):
            if not sum(_remove_entry(entry, path) for entry in entries):
                break  # nothing of this can be removed
        Path(path).rmdir()


def _remove_entry(entry: os.DirEntry[str], top: str) -> bool:
    """Remove a file, or a folder whose folders are moved to `top`; return False if it cannot be removed."""
    try:
        if not entry.is_dir(follow_symlinks=False):
            Path(entry.path).unlink()
            return True
        Path(entry.path).chmod(0o700)
        with os.scandir(entry.path) as below:
            for each in below:
                if each.is_dir(follow_symlinks=False):
                    Path(each.path).rename(Path(top, f"moved-{secrets.token_hex(8)}"))
                else:
                    Path(each.path).unlink()
        Path(entry.path).rmdir()
    except OSError:
        return False
    return True
