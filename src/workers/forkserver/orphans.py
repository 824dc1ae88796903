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
    from collections.abc import Container, Iterable, Iterator

_MAX_SECONDS: Final = 0.2  # what is left then is ended by the next call
_PAUSE_SECONDS: Final = 0.001
_MAX_AT_ONCE: Final = 10_000  # the rest is found by the next round


def end_orphans(workers: Container[int]) -> int:
    """Kill all processes below this one but `workers` and what is below these; return how many.

    Of a chain, all are killed at once: one after the other, each would have to be adopted first.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + _MAX_SECONDS
    own = os.getpid()
    while orphans := [pid for pid in _children(own) if pid not in workers]:
        stopped = _stop_with_all_below(pid for pid in orphans if pid not in killed)
        for pid in stopped:
            _signal(pid, signal.SIGKILL)
        killed.update(stopped)
        for pid in orphans:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > deadline:
            break
        time.sleep(_PAUSE_SECONDS)
    return len(killed)


def _stop_with_all_below(pids: Iterable[int]) -> list[int]:
    """Stop processes and those below them, and return them.

    What is stopped can neither fork before its turn, nor collect a child, whose id another process would get.
    """
    found = list(pids)
    for pid in found:  # it grows meanwhile
        if len(found) > _MAX_AT_ONCE:
            break
        _signal(pid, signal.SIGSTOP)
        found += _children(pid)
    return found


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _children(pid: int) -> Iterator[int]:
    """Yield the children of a process, of all of its threads."""
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - pathlib takes 3 ms to import
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:  # noqa: PTH123 - as above
                yield from map(int, file.read().split())
    except FileNotFoundError:  # it has ended, or a kernel without CONFIG_PROC_CHILDREN
        if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):  # noqa: PTH110 - as above
            yield from (child for child in _all_processes() if _parent(child) == pid)
    except (OSError, ValueError):
        return


def _all_processes() -> Iterator[int]:
    with suppress(OSError):
        yield from (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - as above


def _parent(pid: int) -> int | None:
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - as above
        return int(file.read().rpartition(b")")[2].split()[1])
    return None
