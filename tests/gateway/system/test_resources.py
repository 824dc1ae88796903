"""Proves how many cores and bytes of memory this process may use, and how many threads a worker gets."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.system import resources

if TYPE_CHECKING:
    from collections.abc import Iterator

PHYSICAL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
UNLIMITED_V1 = str(2**63 - 4096)
AFFINITY = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("cpu.max", "max 100000", AFFINITY),
        ("cpu.max", "100000 100000", 1),
        ("cpu.max", "50000 100000", 1),
        ("cpu.max", "999900000 100000", AFFINITY),
        ("cpu.max", "nonsense", AFFINITY),
        ("cpu/cpu.cfs_quota_us", "-1", AFFINITY),
        ("cpu/cpu.cfs_quota_us", "25000", 1),
        (None, "", AFFINITY),
    ],
)
def test_a_container_may_have_fewer_cores(tmp_path: Path, file: str | None, text: str, expected: int) -> None:
    """The quota of the control group counts, of both versions, and the affinity of the process."""
    if file is not None:
        (tmp_path / "cpu").mkdir()
        (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
        (tmp_path / file).write_text(text)
    assert resources.available_cores(tmp_path) == expected


@pytest.mark.parametrize(
    ("cores", "processes", "workers", "threads"),
    [
        (1, 1, 1, 1),
        (2, 1, 1, 1),
        (4, 1, 1, 3),
        (64, 1, 1, 4),
        (8, 2, 1, 4),
        (8, 4, 2, 2),
        (8, 1, 4, 1),
        (16, 1, 4, 3),
        (2, 4, 4, 1),
    ],
)
def test_threads_of_a_worker(cores: int, processes: int, workers: int, threads: int) -> None:
    """Each gateway process keeps a core, a version's workers share the rest; each has at least one thread."""
    assert resources.threads_per_worker(cores=cores, processes=processes, workers=workers) == threads


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/", {"memory.max": "max"}, PHYSICAL),
        ("0::/", {"memory.max": "1048576"}, 2**20),
        ("0::/", {"memory.max": "nonsense"}, PHYSICAL),
        ("0::/", {"memory.max": str(PHYSICAL * 2)}, PHYSICAL),
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "2097152"}, 2**21),
        ("0::/a/b", {"a/b/memory.max": "1048576", "a/memory.max": "2097152"}, 2**20),
        ("0::/a/b", {"a/b/memory.max": "2097152", "a/memory.max": "1048576"}, 2**20),
        ("0::/a", {"b/memory.max": "1048576"}, PHYSICAL),
        ("0::/of/the/host", {"memory.max": "1048576"}, 2**20),
        ("0::/../outside", {"memory.max": "1048576"}, 2**20),
        ("4:memory:/", {"memory/memory.limit_in_bytes": UNLIMITED_V1}, PHYSICAL),
        ("4:memory:/a\n0::/", {"memory/a/memory.limit_in_bytes": "1048576"}, 2**20),
        ("0::/a\n1:name=systemd:/b", {"unified/a/memory.max": "1048576"}, 2**20),
        ("0::/a:b", {"a:b/memory.max": "1048576"}, 2**20),
        ("nonsense", {"memory.max": "1048576"}, 2**20),
        (None, {"memory.max": "1048576"}, 2**20),
    ],
)
def test_memory_is_the_lowest_limit_up_to_the_root(
    tmp_path: Path, groups: str | None, files: dict[str, str], expected: int
) -> None:
    """The process's own group and its parents count, of both versions, and the machine's memory.

    Groups that it is not in do not count.
    """
    proc_cgroup, cgroup = write_groups(tmp_path, groups, files)
    assert resources.available_memory(cgroup, proc_cgroup) == expected


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "100000 100000"}, 1),
        ("0::/a/b", {"a/b/cpu.max": "999900000 100000", "cpu.max": "50000 100000"}, 1),
        ("1:cpu,cpuacct:/a", {"cpu/a/cpu.cfs_quota_us": "1000", "cpu/a/cpu.cfs_period_us": "1000"}, 1),
        ("0::/a", {"b/cpu.max": "1000 100000"}, AFFINITY),
    ],
)
def test_cores_are_the_lowest_quota_up_to_the_root(
    tmp_path: Path, groups: str, files: dict[str, str], expected: int
) -> None:
    """A group has no more time than its parent."""
    proc_cgroup, cgroup = write_groups(tmp_path, groups, files)
    assert resources.available_cores(cgroup, proc_cgroup) == expected


def write_groups(folder: Path, groups: str | None, files: dict[str, str]) -> tuple[Path, Path]:
    """Write a file that says which groups the process is in, and the folder of the groups."""
    proc_cgroup, cgroup = folder / "proc_cgroup", folder / "cgroup"
    if groups is not None:
        proc_cgroup.write_text(groups)
    for name, text in files.items():
        (cgroup / name).parent.mkdir(parents=True, exist_ok=True)
        (cgroup / name).write_text(text)
    return proc_cgroup, cgroup


LIMITS = ((Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"), (Path("/sys/fs/cgroup"), "memory.max"))


@contextmanager
def real_group(limit: int) -> Iterator[Path]:
    """Yield a real control group within another one, whose processes may use `limit` bytes of memory."""
    for top, file in LIMITS:
        outer = top / f"gateway-test-{os.getpid()}"
        try:
            (outer / "inner").mkdir(parents=True)
            (outer / file).write_text(str(limit))
        except OSError:
            for folder in (outer / "inner", outer):
                if folder.is_dir():
                    folder.rmdir()
            continue
        try:
            yield outer / "inner"
        finally:
            (outer / "inner").rmdir()
            outer.rmdir()
        return
    pytest.skip("no control group for memory can be created: it takes root, and the controller")


PRINT_MEMORY = """
import os, pathlib, sys
(pathlib.Path(sys.argv[1]) / "cgroup.procs").write_text(str(os.getpid()))
from gateway.system import resources
print(resources.available_memory())
"""


def test_the_memory_of_a_real_group() -> None:
    """A process in a group of 64 MiB finds that limit."""
    with real_group(2**26) as group:
        done = subprocess.run(
            [sys.executable, "-c", PRINT_MEMORY, str(group)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.stdout.strip(), done.stderr) == (str(2**26), "")
