"""Measures the memory of processes; a page that several of them share is counted by their share."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping

_PROC: Final = Path("/proc")
_SMAPS_ROLLUP: Final = Path("/proc/self/smaps_rollup")


@dataclass(frozen=True, slots=True)
class MemoryUsage:
    """The memory of several processes in bytes, from smaps_rollup in proc(5).

    `total_bytes` is the proportional set size (PSS) of this process, the fork servers and all workers.
    `worker_bytes` has the private pages of each worker and the processes it started, by the worker's
    process id. That many bytes become free when the worker ends. The rest belongs to this process, the
    fork server, and the pages that workers share with it. `environment_bytes` is the part of the rest that
    belongs to the fork server of an environment, by the process id of its keeper.
    """

    total_bytes: int
    worker_bytes: Mapping[int, int]
    environment_bytes: Mapping[int, int]


class _Process(NamedTuple):
    pid: int
    parent: int


class _ProcessMemory(NamedTuple):
    pss_bytes: int
    private_bytes: int


def is_supported() -> bool:
    """Whether the system reports the PSS of a process (Linux since 4.14)."""
    return _SMAPS_ROLLUP.exists()


def measure_all(
    forkserver_pid: int | None,
    forkserver_pss_bytes: Callable[[], int] = lambda: 0,
    keepers: Mapping[int, Callable[[], int]] | None = None,
) -> MemoryUsage:
    """Measure this process, the fork servers, and every worker forked from one.

    `forkserver_pss_bytes` asks the fork server, if this process may not measure it. `keepers` are the parents
    of the fork servers of environments, by process id, with the same function for each.

    A process that a worker started counts as the worker's, whatever session it has started. This takes about
    3 ms for each process, so call it in a thread.
    """
    parents = {process.pid: process.parent for process in _processes()}
    asking = dict(keepers or {})
    keeper_of = {pid: parent for pid, parent in parents.items() if parent in asking}
    keeper_of |= {keeper: keeper for keeper in asking}
    private = {
        pid: 0
        for pid, parent in parents.items()
        if parent == forkserver_pid or keeper_of.get(parent, parent) != parent
    }
    shared = dict.fromkeys(asking, 0)
    total = 0
    for pid in parents:
        worker = _ancestor(pid, parents, among=private)
        server = pid if worker is None else parents[worker]
        if worker is None and pid not in {os.getpid(), forkserver_pid, *keeper_of}:
            continue
        memory = _read_memory(pid)
        size = memory.pss_bytes
        if pid == forkserver_pid:
            size = forkserver_pss_bytes() or size
        elif pid in keeper_of and pid not in asking:
            workers = sum(parents[each] == pid for each in private)
            told = min(asking[keeper_of[pid]](), _resident_bytes(pid))  # more would have others evicted
            size = max(told, _least_pss_bytes(pid, sharing=workers + 1)) or size
        total += size
        if worker is not None:
            private[worker] += memory.private_bytes
            size -= memory.private_bytes
        if server in keeper_of:
            shared[keeper_of[server]] += size
    return MemoryUsage(total, private, shared)


def _least_pss_bytes(pid: int, *, sharing: int) -> int:
    """Return what a process uses at least, if `sharing` processes share its memory.

    The fork server of an environment could report less.
    """
    with suppress(OSError, ValueError, IndexError):
        _, resident, of_files, *_ = (_PROC / str(pid) / "statm").read_text().split()
        return (int(resident) - int(of_files)) * mmap.PAGESIZE // sharing
    return 0


def _ancestor(pid: int, parents: Mapping[int, int], *, among: Container[int]) -> int | None:
    """Return the process itself or the first one above it that is among some; None if there is none."""
    for _ in parents:  # ids that were used again while they were read may seem to be a ring
        if pid in among:
            return pid
        if pid not in parents:
            return None
        pid = parents[pid]
    return None


def private_bytes(pid: int) -> int:
    """Return the size of one process' private pages in bytes, or 0 if it has ended."""
    return _read_memory(pid).private_bytes


def _read_memory(pid: int) -> _ProcessMemory:
    """Return the memory of a process, nothing if it has ended.

    A process that hides it, as a model can, counts with all that it maps, shared or not.
    """
    sizes: dict[str, int] = {}
    try:
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]:
            name, _, kibibytes = line.partition(":")
            sizes[name] = int(kibibytes.split()[0]) * 1024
    except PermissionError:
        resident = _resident_bytes(pid)
        return _ProcessMemory(resident, resident)
    except (OSError, ValueError):
        pass
    private = sum(sizes.get(name, 0) for name in ("Private_Clean", "Private_Dirty", "Private_Hugetlb"))
    return _ProcessMemory(sizes.get("Pss", 0), private)


def _resident_bytes(pid: int) -> int:
    with suppress(OSError, ValueError, IndexError):
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * mmap.PAGESIZE
    return 0


def _processes() -> Iterator[_Process]:
    for entry in os.scandir(_PROC):
        if entry.name.isdigit():
            with suppress(OSError, ValueError):
                fields = (_PROC / entry.name / "stat").read_bytes().rpartition(b")")[2].split()
                yield _Process(int(entry.name), int(fields[1]))
