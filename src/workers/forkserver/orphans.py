"""Find and end what models leave behind: processes whose parents have ended.

The kernel gives the orphans below this process to it, since it is a subreaper: prctl(2).
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

_MAX_SECONDS: Final = 0.2  # what is left then is ended by the next call
_PAUSE_SECONDS: Final = 0.001


def end_orphans(workers: Container[int]) -> int:
    """Kill all children of this process but `workers`, and the children that these leave; return how many."""
    killed: set[int] = set()
    deadline = time.monotonic() + _MAX_SECONDS
    while orphans := [pid for pid in _children() if pid not in workers]:
        new = [pid for pid in orphans if pid not in killed]
        for number in (signal.SIGSTOP, signal.SIGKILL):  # what is stopped cannot fork before its turn
            for pid in new:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
        killed.update(new)
        for pid in orphans:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > deadline:
            break
        time.sleep(_PAUSE_SECONDS)
    return len(killed)


def _children() -> Iterator[int]:
    """Yield the children of this process, which has one thread."""
    pid = os.getpid()
    try:
        with open(f"/proc/self/task/{pid}/children", encoding="ascii") as file:  # noqa: PTH123 - pathlib takes 3 ms to import
            yield from map(int, file.read().split())
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN
        yield from (child for child in _all_processes() if _parent(child) == pid)


def _all_processes() -> Iterator[int]:
    with suppress(OSError):
        yield from (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - as above


def _parent(pid: int) -> int | None:
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - as above
        return int(file.read().rpartition(b")")[2].split()[1])
    return None
