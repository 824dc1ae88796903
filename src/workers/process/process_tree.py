"""Who is whose parent, from proc(5): what a process tells of itself is not believed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
IS_KNOWN: Final = (_PROC / "self" / "stat").exists()
"""Whether this system tells."""
ENDED: Final = -1


def parent(pid: int) -> int:
    """Return the parent of a process, or 0 if there is no such process."""
    with suppress(OSError, ValueError, IndexError):
        return int((_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[1])
    return 0


def children(pid: int) -> list[int]:
    """Return the processes whose parent is `pid`."""
    ids = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())
    return [each for each in ids if parent(each) == pid]


def pid_of(pidfd: int) -> int:
    """Return which process a descriptor refers to; `ENDED` if that has ended, 0 if there never was one."""
    with suppress(OSError, ValueError):
        for line in (_PROC / "self" / "fdinfo" / str(pidfd)).read_text().splitlines():
            if line.startswith("Pid:"):
                return int(line.split()[1])
    return 0
