"""Print what a process of this user can learn of another one, as JSON: a model's way to secrets.

Usage: `spies.py PID`. Each of the ways is named, with what was found or the error.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_PTRACE_ATTACH, _PTRACE_DETACH = 16, 17
_PIDFD_GETFD = 438  # on all machines


def _attach(pid: int) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(_PTRACE_ATTACH, pid, 0, 0):
        raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(pid, 0)
    libc.ptrace(_PTRACE_DETACH, pid, 0, 0)
    return "attached"


def _take_stdin(pid: int) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(_PIDFD_GETFD, os.pidfd_open(pid), 0, 0)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    return "taken"


def _heap(pid: int) -> str:
    """Return the memory that Python's objects are in."""
    parts = []
    root = Path(f"/proc/{pid}")
    with (root / "maps").open() as maps, (root / "mem").open("rb", buffering=0) as memory:
        for line in maps:
            if "[heap]" in line or line.split()[1:5] == ["rw-p", "00000000", "00:00", "0"]:
                start, end = (int(part, 16) for part in line.split()[0].split("-"))
                memory.seek(start)
                parts.append(memory.read(min(end - start, 2**24)))
    return b"".join(parts).decode("latin-1")


def main(pid: int) -> None:
    """Try each way."""
    root = Path(f"/proc/{pid}")
    ways: dict[str, Callable[[], str]] = {
        "cmdline": (root / "cmdline").read_text,
        "environ": (root / "environ").read_text,
        "memory": lambda: _heap(pid),
        "descriptors": lambda: " ".join(str(link.readlink()) for link in (root / "fd").iterdir()),
        "descriptors' positions": (root / "fdinfo" / "0").read_text,
        "input": lambda: str(os.open(root / "fd" / "0", os.O_RDONLY | os.O_NONBLOCK)),
        "folder": lambda: str((root / "cwd").readlink()),
        "trace": lambda: _attach(pid),
        "take its input": lambda: _take_stdin(pid),
    }
    found = {}
    for name, way in ways.items():
        try:
            found[name] = way()
        except OSError as error:
            found[name] = type(error).__name__
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
