"""How many cores and how much memory there is for us, and how many threads a worker may have by that."""

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
    assert resources.available_cores(tmp_path) == wanted


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
    assert resources.threads_per_worker(cores=cores, processes=processes, workers=workers) == threads


@pytest.mark.parametrize(
    ("groups", "files", "wanted"),
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
def test_memory_is_the_least_on_the_way_to_the_root(
    tmp_path: Path, groups: str | None, files: dict[str, str], wanted: int
) -> None:
    """The process's own group counts and all above it, of either version, and the machine's memory; groups
    that it is not in do not.
    """
    own, cgroup = written(tmp_path, groups, files)
    assert resources.available_memory(cgroup, own) == wanted


@pytest.mark.parametrize(
    ("groups", "files", "wanted"),
    [
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "100000 100000"}, 1),
        ("0::/a/b", {"a/b/cpu.max": "999900000 100000", "cpu.max": "50000 100000"}, 1),
        ("1:cpu,cpuacct:/a", {"cpu/a/cpu.cfs_quota_us": "1000", "cpu/a/cpu.cfs_period_us": "1000"}, 1),
        ("0::/a", {"b/cpu.max": "1000 100000"}, BOUND),
    ],
)
def test_cores_are_the_fewest_on_the_way_to_the_root(
    tmp_path: Path, groups: str, files: dict[str, str], wanted: int
) -> None:
    """A group has no more time than the one above it."""
    own, cgroup = written(tmp_path, groups, files)
    assert resources.available_cores(cgroup, own) == wanted


def written(folder: Path, groups: str | None, files: dict[str, str]) -> tuple[Path, Path]:
    """A file that says which groups the process is in, and the folder of the groups."""
    own, cgroup = folder / "own", folder / "cgroup"
    if groups is not None:
        own.write_text(groups)
    for name, text in files.items():
        (cgroup / name).parent.mkdir(parents=True, exist_ok=True)
        (cgroup / name).write_text(text)
    return own, cgroup


LIMITS = ((Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"), (Path("/sys/fs/cgroup"), "memory.max"))


@contextmanager
def real_group(limit: int) -> Iterator[Path]:
    """A control group of the kernel's own, within another, in which processes have so much memory."""
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
    pytest.skip("no control group for memory can be made here: it takes root, and the controller")


ASK = """
import os, pathlib, sys
(pathlib.Path(sys.argv[1]) / "cgroup.procs").write_text(str(os.getpid()))
from gateway import machine
print(machine.memory())
"""


def test_the_memory_of_a_real_group() -> None:
    """A process that the kernel allows 64 MiB of memory says so."""
    with real_group(2**26) as group:
        done = subprocess.run(
            [sys.executable, "-c", ASK, str(group)], capture_output=True, text=True, timeout=60, check=False
        )
    assert (done.stdout.strip(), done.stderr) == (str(2**26), "")
