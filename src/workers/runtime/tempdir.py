"""Give each worker process a folder of its own for temporary files, which is removed when the process ends.

Models leave temporary files behind, and so does every process that is killed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

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
    """Remove a folder that no process uses any more, as far as possible."""
    shutil.rmtree(path, ignore_errors=True)
