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

    `total_bytes` is the proportional set size (PSS) of this process, the fork server and all workers.
    `worker_bytes` has the private pages of each worker and the processes it started, by the worker's
    process id. That many bytes become free when the worker ends. The rest belongs to this process, the
    fork server, and the pages that workers share with it.
    """

    total_bytes: int
    worker_bytes: Mapping[int, int]


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
    forkserver_pid: int | None, forkserver_pss_bytes: Callable[[], int] = lambda: 0
) -> MemoryUsage:
    """Measure this process, the fork server, and every worker forked from it.

    `forkserver_pss_bytes` asks the fork server, if this process may not measure it.

    A process that a worker started counts as the worker's, whatever session it has started. This takes about
    3 ms for each process, so call it in a thread.
    """
    parents = {process.pid: process.parent for process in _processes()}
    private = {pid: 0 for pid, parent in parents.items() if parent == forkserver_pid}
    total = 0
    for pid in parents:
        worker = _ancestor(pid, parents, among=private)
        if worker is not None or pid in {os.getpid(), forkserver_pid}:
            memory = _read_memory(pid)
            total += (pid == forkserver_pid and forkserver_pss_bytes()) or memory.pss_bytes
            if worker is not None:
                private[worker] += memory.private_bytes
    return MemoryUsage(total, private)


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
