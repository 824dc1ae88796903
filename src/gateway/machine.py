"""What this process may use of the machine: its cores, as the kernel and a container's limits allow."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")
_MOST_THREADS: Final = 4


def cores(cgroup: Path = _CGROUP) -> int:
    """How many cores this process may keep busy, at least 1.

    A process may be bound to some of the machine's, and a control group (version 2 or 1) may give it
    the time of fewer.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return bound if quota is None else max(1, min(bound, math.ceil(quota)))


def threads(*, cores: int, processes: int, workers: int) -> int:
    """How many threads the numeric libraries of one worker may use.

    Each gateway process needs a core; what is left is shared by a version's workers. Beyond a few
    threads a batch of ordinary size gains nothing, and other models' workers lose.
    """
    return max(1, min(_MOST_THREADS, (cores - processes) // (processes * workers)))


def _quota(cgroup: Path) -> float | None:
    """The cores' worth of time that the control group has, None where it is not limited."""
    with suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota_us = int((cgroup / "cpu/cpu.cfs_quota_us").read_text())
        return None if quota_us < 0 else quota_us / int((cgroup / "cpu/cpu.cfs_period_us").read_text())
    return None
