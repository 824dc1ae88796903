"""What processes take, as the kernel tells it."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time

import psutil
import pytest

from workers.pool import process_memory

pytestmark = pytest.mark.skipif(not process_memory.is_supported(), reason="this system does not tell it")

_WORKER = """
import os, subprocess, sys
os.setsid()
held = os.urandom(60 << 20)
code = "import os; held = os.urandom(30 << 20); print(1, flush=True); input()"
below = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
below.stdout.readline()
print(os.getpid(), flush=True)
input()
"""
_TEMPLATE = """
import subprocess, sys
worker = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(worker.stdout.readline().decode(), flush=True)
input()
"""
_MIB = 2**20


def test_a_session_counts_as_a_whole() -> None:
    """What a worker started counts as the worker's, and a worker that is gone takes nothing."""
    command = [sys.executable, "-c", _TEMPLATE, _WORKER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as template:
        assert template.stdout is not None
        worker = int(template.stdout.readline())
        before = process_memory.measure_all(template.pid)
        template.kill()
        template.wait()
        _gone(worker)
        after = process_memory.measure_all(template.pid)
    assert 90 * _MIB < before.worker_bytes[worker] < 150 * _MIB
    assert worker not in after.worker_bytes
    assert before.total_bytes - after.total_bytes >= 90 * _MIB


def test_own_memory() -> None:
    """What this process takes is found, nearly as another reader of the kernel's figures has it."""
    # a mapping of its own: the heap may still hold, resident, what earlier tests gave back
    with mmap.mmap(-1, 50 * _MIB, flags=mmap.MAP_PRIVATE) as held:
        before = process_memory.measure_all(None).total_bytes
        for page in range(0, len(held), mmap.PAGESIZE):
            held[page] = 1
        found = process_memory.measure_all(None).total_bytes
        mine = psutil.Process()
        expected = mine.memory_full_info().pss
        assert len(held) * 0.9 < found - before
        assert found == pytest.approx(expected, rel=0.1)
        assert process_memory.private_bytes(mine.pid) > len(held) * 0.9


def _gone(session: int) -> None:
    """Wait for what the ended worker had started, which ends as its standard input does."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if not any(_session(process.pid) == session for process in psutil.process_iter()):
            return
        time.sleep(0.02)
    raise AssertionError("a process of the session still runs")


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0
