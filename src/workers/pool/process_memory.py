"""What processes take of the machine's memory, pages that several of them share counted by their share."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PROC: Final = Path("/proc")
_SMAPS_ROLLUP: Final = Path("/proc/self/smaps_rollup")


@dataclass(frozen=True, slots=True)
class MemoryUsage:
    """Bytes that processes take, see smaps_rollup in proc(5).

    `whole` is the proportional set size (PSS) of this process, the template and the workers. `workers`
    has, by process id, the pages that each worker and what the model started there have for themselves: so
    much comes back when it ends. The rest is this process', the template's, and what workers share with it.
    """

    total_bytes: int
    worker_bytes: Mapping[int, int]


class _Process(NamedTuple):
    pid: int
    parent: int
    session: int


class _ProcessMemory(NamedTuple):
    pss_bytes: int
    private_bytes: int


def is_supported() -> bool:
    """Whether the system says what a process takes (Linux since 4.14)."""
    return _SMAPS_ROLLUP.exists()


def measure_all(forkserver_pid: int | None) -> MemoryUsage:
    """The footprint of this process, of the workers' template, and of every worker forked from it.

    Each worker leads a session of its own. Takes about 3 ms for each process: not for the event loop.
    """
    everybody = list(_processes())
    ours = {os.getpid(), forkserver_pid}
    private = {
        each.pid: 0 for each in everybody if each.parent == forkserver_pid and each.session == each.pid
    }
    whole = 0
    for process in everybody:
        if process.pid in ours or process.session in private:
            pages = _read_memory(process.pid)
            whole += pages.pss_bytes
            if process.session in private:
                private[process.session] += pages.private_bytes
    return MemoryUsage(whole, private)


def private_bytes(pid: int) -> int:
    """The bytes that one process has for itself; 0 where it is gone."""
    return _read_memory(pid).private_bytes


def _read_memory(pid: int) -> _ProcessMemory:
    counted: dict[str, int] = {}
    with suppress(OSError, ValueError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]:
            name, _, amount = line.partition(":")
            counted[name] = int(amount.split()[0]) * 1024
    alone = sum(counted.get(name, 0) for name in ("Private_Clean", "Private_Dirty", "Private_Hugetlb"))
    return _ProcessMemory(counted.get("Pss", 0), alone)


def _processes() -> Iterator[_Process]:
    for entry in os.scandir(_PROC):
        if entry.name.isdigit():
            with suppress(OSError, ValueError):
                fields = (_PROC / entry.name / "stat").read_text().rpartition(")")[2].split()
                yield _Process(int(entry.name), int(fields[1]), int(fields[3]))
