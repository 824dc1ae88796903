"""How many cores there are for us, and how many threads a worker may have by that."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from gateway import machine

if TYPE_CHECKING:
    from pathlib import Path

BOUND = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.mark.parametrize(
    ("file", "text", "wanted"),
    [
        ("cpu.max", "max 100000", BOUND),
        ("cpu.max", "100000 100000", 1),
        ("cpu.max", "50000 100000", 1),
        ("cpu.max", "999900000 100000", BOUND),
        ("cpu.max", "nonsense", BOUND),
        ("cpu/cpu.cfs_quota_us", "-1", BOUND),
        ("cpu/cpu.cfs_quota_us", "25000", 1),
        (None, "", BOUND),
    ],
)
def test_a_container_may_have_fewer_cores(tmp_path: Path, file: str | None, text: str, wanted: int) -> None:
    """The control group's time counts, of either version, and what the process is bound to."""
    if file is not None:
        (tmp_path / "cpu").mkdir()
        (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
        (tmp_path / file).write_text(text)
    assert machine.cores(tmp_path) == wanted


@pytest.mark.parametrize(
    ("cores", "processes", "workers", "threads"),
    [
        (1, 1, 1, 1),
        (2, 1, 1, 1),
        (4, 1, 1, 3),
        (64, 1, 1, 4),
        (8, 2, 1, 3),
        (8, 1, 4, 1),
        (16, 1, 4, 3),
        (2, 4, 4, 1),
    ],
)
def test_threads_of_a_worker(cores: int, processes: int, workers: int, threads: int) -> None:
    """Each gateway process keeps a core, a version's workers share the rest, and there is one at least."""
    assert machine.threads(cores=cores, processes=processes, workers=workers) == threads
