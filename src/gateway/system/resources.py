"""What this process may use of the machine: cores and memory, as kernel and container limits allow."""

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
    """How many cores this process may keep busy, at least 1.

    A process may be bound to some of the machine's, and its control group (version 2 or 1), or any above
    that, may have the time of fewer.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [
        quota
        for folder in _cgroup_folders("cpu", cgroup, proc_cgroup=proc_cgroup)
        if (quota := _cpu_quota(folder)) is not None
    ]
    return max(1, min([bound, *map(math.ceil, quotas)]))


def available_memory(cgroup: Path = _CGROUP_ROOT, proc_cgroup: Path = _PROC_CGROUP) -> int:
    """How many bytes this process and those that it starts may use together.

    That is the machine's memory, or less where its control group (version 2 or 1), or any above that, may
    use less.
    """
    limits = [
        limit
        for folder in _cgroup_folders("memory", cgroup, proc_cgroup=proc_cgroup)
        if (limit := _memory_limit(folder)) is not None
    ]
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *limits])


def threads_per_worker(*, cores: int, processes: int, workers: int) -> int:
    """How many threads the numeric libraries of one worker may use.

    Each gateway process needs a core; what is left is shared by a version's workers. Beyond a few
    threads a batch of ordinary size gains nothing, and other models' workers lose.
    """
    return max(1, min(_MAX_THREADS, (cores - processes) // (processes * workers)))


def _cgroup_folders(controller: str, cgroup: Path, *, proc_cgroup: Path) -> Iterator[Path]:
    """The folders of the groups that this process is in, from its own up to the root, of either version.

    A container often sees its own group as the root, whatever `own` calls it: what is not there is for the
    reader to pass over.
    """
    paths = _cgroup_paths(proc_cgroup)
    for top, name in ((cgroup, ""), (cgroup / "unified", ""), (cgroup / controller, controller)):
        inner = PurePosixPath(paths.get(name, "/").lstrip("/"))
        if ".." not in inner.parts:  # a group outside of what this process may see
            yield from (top / each for each in (inner, *inner.parents))
        else:
            yield top


def _cgroup_paths(proc_cgroup: Path) -> dict[str, str]:
    """The process's group by controller; under the empty name that of version 2."""
    with suppress(OSError, ValueError):
        lines = [line.split(":", 2) for line in proc_cgroup.read_text().splitlines()]
        return {name: path for _, names, path in lines for name in names.split(",")}
    return {}


def _cpu_quota(folder: Path) -> float | None:
    """The cores' worth of time that one group has, None where it is not limited."""
    with suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota_us = int((folder / "cpu.cfs_quota_us").read_text())
        return None if quota_us < 0 else quota_us / int((folder / "cpu.cfs_period_us").read_text())
    return None


def _memory_limit(folder: Path) -> int | None:
    """The bytes that one group may use, None where it is not limited."""
    for file in ("memory.max", "memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            return int((folder / file).read_text())
    return None
