"""The cores and the memory that this process may use, by the limits of the machine and of control groups."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_CGROUP_ROOT: Final = Path("/sys/fs/cgroup")
_PROC_CGROUP: Final = Path("/proc/self/cgroup")
_MAX_THREADS: Final = 4


def available_cores(cgroup: Path = _CGROUP_ROOT, proc_cgroup: Path = _PROC_CGROUP) -> int:
    """Return the number of cores that this process may use, at least 1.

    That is its CPU affinity, or fewer if its control group (version 2 or 1) or a parent group has a quota.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [
        quota
        for folder in _cgroup_folders("cpu", cgroup, proc_cgroup=proc_cgroup)
        if (quota := _cpu_quota(folder)) is not None
    ]
    return max(1, min([affinity, *map(math.ceil, quotas)]))


def available_memory(cgroup: Path = _CGROUP_ROOT, proc_cgroup: Path = _PROC_CGROUP) -> int:
    """Return the bytes that this process and those that it starts may use together.

    That is the machine's memory, or less if its control group (version 2 or 1) or a parent group has a limit.
    """
    limits = [
        limit
        for folder in _cgroup_folders("memory", cgroup, proc_cgroup=proc_cgroup)
        if (limit := _memory_limit(folder)) is not None
    ]
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *limits])


def threads_per_worker(*, cores: int, processes: int, workers: int) -> int:
    """Return the number of threads for the numeric libraries of one worker, 1 to 4.

    Each gateway process keeps one core; the workers of a version share the rest. With more threads an
    ordinary batch does not become faster, and the workers of other models become slower.
    """
    return max(1, min(_MAX_THREADS, (cores - processes) // workers))


def _cgroup_folders(controller: str, cgroup: Path, *, proc_cgroup: Path) -> Iterator[Path]:
    """Yield the folders of the groups that this process is in, from its own to the root, of both versions.

    Some do not exist: a container often sees its own group as the root, under another path than `proc_cgroup`
    has.
    """
    paths = _cgroup_paths(proc_cgroup)
    for top, name in ((cgroup, ""), (cgroup / "unified", ""), (cgroup / controller, controller)):
        inner = PurePosixPath(paths.get(name, "/").lstrip("/"))
        if ".." not in inner.parts:  # else its group is outside of the visible hierarchy
            yield from (top / each for each in (inner, *inner.parents))
        else:
            yield top


def _cgroup_paths(proc_cgroup: Path) -> dict[str, str]:
    """Return the path of this process's group by controller; the empty name stands for version 2."""
    with suppress(OSError, ValueError):
        lines = [line.split(":", 2) for line in proc_cgroup.read_text().splitlines()]
        return {name: path for _, names, path in lines for name in names.split(",")}
    return {}


def _cpu_quota(folder: Path) -> float | None:
    """Return the CPU quota of one group in cores, or None if it has none."""
    with suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota_us = int((folder / "cpu.cfs_quota_us").read_text())
        return None if quota_us < 0 else quota_us / int((folder / "cpu.cfs_period_us").read_text())
    return None


def _memory_limit(folder: Path) -> int | None:
    """Return the memory limit of one group in bytes, or None if it has none."""
    for file in ("memory.max", "memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            return int((folder / file).read_text())
    return None
