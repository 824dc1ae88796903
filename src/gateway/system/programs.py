"""Finds programs that are installed with the gateway."""

from __future__ import annotations

import os
import shutil
import sysconfig
from contextlib import suppress
from functools import cache
from pathlib import Path


@cache
def find_uv() -> Path | None:
    """Return the path of uv: beside the gateway's own Python, else on the PATH; None if it is nowhere."""
    for scheme in (sysconfig.get_default_scheme(), "posix_user"):
        with suppress(KeyError):
            path = Path(sysconfig.get_path("scripts", scheme), "uv")
            if path.is_file() and os.access(path, os.X_OK):
                return path
    found = shutil.which("uv")
    return Path(found) if found else None
