"""The rights of this process that its workers, and so the models, have too."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

ADVICE: Final = "start it as a user of its own without capabilities, such as by User= of systemd"
_STATUS: Final = Path("/proc/self/status")
_USER_MAP: Final = Path("/proc/self/uid_map")
_INITIAL_USER_MAP: Final = ["0", "0", "4294967295"]
_ALL_FILES: Final = {"CAP_DAC_OVERRIDE": 1, "CAP_DAC_READ_SEARCH": 2}
_ALL_PROCESSES: Final = {"CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21}


def exposure() -> str | None:
    """Return what models can read although `disable_process_inspection` was called, or None.

    Root has the capabilities for that, unless they were taken away. Even then the machine's files are its
    own, unless it is root in a user namespace only.
    """
    root, held = os.geteuid() == 0, _capabilities()
    if not held and not (root and _is_initial_user_namespace()):
        return None
    who = "The gateway runs as root (uid 0)" if root else f"The gateway has {', '.join(held)}"
    if _ALL_PROCESSES.keys() & set(held):
        return f"{who}: models can read its memory and environment, with all secrets, and other users' files"
    return f"{who}: models can read {'files of other users' if held else 'all files of root'}"


def _capabilities() -> list[str]:
    """Return the names of the effective capabilities that matter; only Linux has any."""
    if sys.platform == "linux":
        with suppress(OSError):
            for line in _STATUS.read_text().splitlines():
                if line.startswith("CapEff:"):
                    mask = int(line.split()[1], 16)
                    known = _ALL_FILES | _ALL_PROCESSES
                    return [name for name, bit in known.items() if mask >> bit & 1]
    return []


def _is_initial_user_namespace() -> bool:
    try:
        return _USER_MAP.read_text().split() == _INITIAL_USER_MAP
    except OSError:  # a system without user namespaces
        return True
