"""Proves when a hanging process is ended, with which status, and what it writes before."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

PATIENCE_SECONDS = 60.0
# Every program has a second thread, whose stack must be written too.
BEGIN = """
import asyncio, collections, functools, itertools, logging, os, threading, time
from gateway.server.heartbeat import Heartbeat
from gateway.server.watchdog import SHUTDOWN_HUNG, Watchdog

def other_thread_waits_here():
    threading.Event().wait()

logging.basicConfig()
threading.Thread(target=other_thread_waits_here, daemon=True).start()
"""


def start(program: str, *, report_seconds: float) -> subprocess.Popen[str]:
    """Start a Python program that has a watchdog."""
    begin = f"{BEGIN}watchdog = Watchdog(report_seconds={report_seconds})\n"
    return subprocess.Popen(
        [sys.executable, "-c", begin + program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(program: str, *, report_seconds: float = 30) -> tuple[int, str]:
    """Run a program to its end; return its status and what it wrote to standard error."""
    with start(program, report_seconds=report_seconds) as process:
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, errors


def test_a_moved_deadline_does_not_end_the_process() -> None:
    """Each beat of the event loop moves it, and at the end it is cancelled."""
    program = """
async def main():
    watchdog.set_deadline(1)
    with Heartbeat().beating(on_beat=functools.partial(watchdog.set_deadline, 1000)):
        await asyncio.sleep(2)  # longer than the first deadline and the time to report
    watchdog.set_deadline(1)
    watchdog.stop()
    await asyncio.sleep(2)

asyncio.run(main())
"""
    assert run(program, report_seconds=0.5) == (0, "")


@pytest.mark.parametrize(
    "wait",
    [
        "time.sleep(3600)",
        "threading.Lock().acquire() and threading.Event().wait()",
        "exec('while True: pass')",
    ],
)
def test_a_hanging_event_loop_ends_the_process(wait: str) -> None:
    """Status 1, after one line of log and the stacks of all threads."""
    status, errors = run(f"""
async def hangs_here():
    with Heartbeat().beating(on_beat=functools.partial(watchdog.set_deadline, 0.5)):
        {wait}

asyncio.run(hangs_here())
""")
    assert status == 1
    assert errors.startswith("CRITICAL:gateway.server.watchdog:The event loop has not run for 0.5 s")
    assert "in hangs_here" in errors
    assert "in other_thread_waits_here" in errors
    assert "Timeout" not in errors


def test_native_code_that_holds_the_lock() -> None:
    """No Python code can run: the first line is faulthandler's own, stacks and status are the same."""
    status, errors = run(
        """
def hangs_here():
    collections.deque(itertools.repeat(0), maxlen=0)

watchdog.set_deadline(0.5)
hangs_here()
""",
        report_seconds=1,
    )
    assert status == 1
    assert errors.startswith("Timeout (0:00:01.500000)!\n")
    assert "in hangs_here" in errors
    assert "in other_thread_waits_here" in errors


def test_a_log_that_nothing_reads() -> None:
    """The process hangs because its log blocks. The watchdog cannot write either, so the kernel ends it."""
    program = """
watchdog.set_deadline(0.5)
while True:
    os.write(2, bytes(65536))
"""
    with start(program, report_seconds=1) as process:
        assert process.wait(PATIENCE_SECONDS) == -signal.SIGALRM


def test_a_shutdown_that_hangs() -> None:
    """It has its own message, and the status that it was given, as after an aborted start."""
    status, errors = run("""
watchdog.set_deadline(0.5, event=SHUTDOWN_HUNG, status=0)
threading.Event().wait()
""")
    assert status == 0
    assert "Shutdown did not finish within 0.5 s" in errors
    assert "in other_thread_waits_here" in errors
    assert "event loop" not in errors


def test_a_process_that_was_stopped_for_longer_ends_when_it_is_resumed() -> None:
    """Its timers went on while it was stopped, by SIGSTOP or a debugger."""
    program = """
async def main():
    with Heartbeat().beating(on_beat=functools.partial(watchdog.set_deadline, 1), interval=0.1):
        print("ready", flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""
    with start(program, report_seconds=30) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(2)  # longer than the deadline
        assert process.poll() is None
        process.send_signal(signal.SIGCONT)
        assert process.wait(PATIENCE_SECONDS) == 1
