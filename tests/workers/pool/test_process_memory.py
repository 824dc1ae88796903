"""Proves that the memory of processes is measured as the kernel reports it. These tests measure PSS."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys

import psutil
import pytest

from tests.support import ordinary_user
from tests.support.waiting import until
from workers.pool import process_memory

pytestmark = [
    pytest.mark.skipif(not process_memory.is_supported(), reason="the system does not report PSS"),
    pytest.mark.serial,
]

_WORKER = """
import os, subprocess, sys
os.setsid()
data = os.urandom(60 << 20)
code = "import os; data = os.urandom(30 << 20); print(1, flush=True); input()"
child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(os.getpid(), flush=True)
input()
"""
_FORK_SERVER = """
import subprocess, sys
worker = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(worker.stdout.readline().decode(), flush=True)
input()
"""
_HIDDEN = """
import ctypes, os
data = os.urandom(30 << 20)
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
print(flush=True)
input()
"""
_MEASURE = f"""
import subprocess, sys
from workers.pool import process_memory
command = [sys.argv[1], "-c", {_HIDDEN!r}]
with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
    child.stdout.readline()
    print(process_memory.private_bytes(child.pid))
    child.kill()
"""
_MIB = 2**20


async def test_a_session_counts_as_a_whole() -> None:
    """The PSS of processes that a worker started counts as the worker's; an ended worker uses none."""
    command = [sys.executable, "-c", _FORK_SERVER, _WORKER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as forkserver:  # noqa: ASYNC220 - a test may block
        assert forkserver.stdout is not None
        worker = int(forkserver.stdout.readline())
        before = process_memory.measure_all(forkserver.pid)
        forkserver.kill()
        forkserver.wait()
        await until(lambda: not any(_session(process.pid) == worker for process in psutil.process_iter()))
        after = process_memory.measure_all(forkserver.pid)
    assert 90 * _MIB < before.worker_bytes[worker] < 150 * _MIB
    assert worker not in after.worker_bytes
    assert before.total_bytes - after.total_bytes >= 90 * _MIB


def test_the_memory_of_this_process() -> None:
    """The measured PSS of this process grows with a mapping, and is about what psutil reports."""
    # A mapping of its own: the heap may still hold, resident, what earlier tests freed.
    with mmap.mmap(-1, 50 * _MIB, flags=mmap.MAP_PRIVATE) as mapping:
        before = process_memory.measure_all(None).total_bytes
        for page in range(0, len(mapping), mmap.PAGESIZE):
            mapping[page] = 1
        measured = process_memory.measure_all(None).total_bytes
        process = psutil.Process()
        reported = process.memory_full_info().pss
        assert len(mapping) * 0.9 < measured - before
        assert measured == pytest.approx(reported, rel=0.1)
        assert process_memory.private_bytes(process.pid) > len(mapping) * 0.9


def test_a_process_that_hides_its_memory() -> None:
    """It counts with all that it maps, so that a model cannot hide what it uses."""
    # Root may read it all the same, so the measurement is made without root's rights.
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, sys.executable],
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
        preexec_fn=ordinary_user.drop_capabilities,
    )
    assert int(done.stdout) > 30 * _MIB


def test_a_process_with_a_name_of_any_bytes() -> None:
    """It is found, so that a model cannot hide by its name."""
    rename = (
        r"import ctypes, sys; ctypes.CDLL(None).prctl(15, b'\xff\xfe)', 0, 0, 0); print(flush=True); input()"
    )
    command = [sys.executable, "-c", rename]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert process.pid in process_memory.measure_all(os.getpid()).worker_bytes
        process.kill()


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0
