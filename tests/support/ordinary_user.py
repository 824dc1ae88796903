"""Programs without the rights of root, also where the tests run as root, which may read everything."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROGRAMS = Path(__file__).parent / "programs"
_PR_CAPBSET_DROP = 24
_CAPABILITIES = 64  # more than there are


def start(program: str, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start `program` of `tests.support.programs` as this user without capabilities.

    For the access to other processes, root without them is a user like any other.
    """
    return subprocess.Popen(
        [sys.executable, str(_PROGRAMS / f"{program}.py"), *arguments],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        start_new_session=True,
        preexec_fn=drop_capabilities,  # noqa: PLW1509 - no thread of the tests holds a lock that it needs
    )


def drop_capabilities() -> None:
    """Have the program that this process executes next run without capabilities."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        for number in range(_CAPABILITIES):
            libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
