"""The temporary files of one worker's process, in a folder of its own: models leave theirs, a kill all."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

_COMPILE_CACHE_VARIABLE: Final = (
    "TORCHINDUCTOR_CACHE_DIR"  # compiled code, which the next worker is not to compile anew
)


def new_path() -> str:
    """The path of one that is not there yet, where this process keeps its temporary files."""
    return str(Path(tempfile.gettempdir(), f"worker-{secrets.token_hex(8)}"))


def use(path: str) -> None:
    """Have this process and whatever it starts keep its temporary files in a new folder.

    They stay where they were kept before if it cannot be made.
    """
    before = tempfile.gettempdir()
    with suppress(OSError):
        Path(path).mkdir(mode=0o700)
        os.environ.setdefault(_COMPILE_CACHE_VARIABLE, str(Path(before, f"torchinductor_{os.geteuid()}")))
        os.environ["TMPDIR"] = tempfile.tempdir = path


def remove(path: str) -> None:
    """Remove a folder that no process uses any more, as far as that can be done."""
    shutil.rmtree(path, ignore_errors=True)
