"""Proves that the demo's other programs end with it, even if it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tests.support.commands import still_running

if TYPE_CHECKING:
    from pathlib import Path

# A child that starts a child of its own, writes both pids, and stays.
PATIENCE_SECONDS = 60.0
FAMILY = (
    "import os, signal, subprocess, sys, time\n"
    "if 'stubborn' in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "open('pids.part', 'w').write(f'{os.getpid()} {grandchild.pid}')\n"
    "os.rename('pids.part', 'pids')\n"
    "time.sleep(600)\n"
)
GUARD = (
    "import sys\n"
    "from gateway.cli.demo import process_guard\n"
    "sys.exit(process_guard.main(sys.argv[1:], grace_seconds=0.5))\n"
)


def guarded(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    """Start a guard of a Python command, in `folder`."""
    words = [sys.executable, "-c", GUARD, sys.executable, *command]
    return subprocess.Popen(words, stdin=subprocess.PIPE, cwd=folder)


def family(folder: Path) -> set[int]:
    """Return the pids of the child and the grandchild once they run."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not (folder / "pids").exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    return {int(pid) for pid in (folder / "pids").read_text().split()}


def test_the_status_is_that_of_the_command() -> None:
    """A command exits by itself: the guard exits with its status."""
    with subprocess.Popen(
        [sys.executable, "-m", "gateway.cli.demo.process_guard", sys.executable, "-c", "raise SystemExit(7)"],
        stdin=subprocess.PIPE,
    ) as guard:
        assert guard.wait(PATIENCE_SECONDS) == 7


def test_closed_pipe_ends_the_group(tmp_path: Path) -> None:
    """The owner has exited: the guard ends the command and what it started."""
    with guarded(tmp_path, "-c", FAMILY) as guard:
        pids = family(tmp_path)
        assert guard.stdin is not None
        guard.stdin.close()
        assert guard.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM
    assert still_running(pids) == set()


def test_signal_ends_the_group(tmp_path: Path) -> None:
    """A signal to the guard does the same."""
    with guarded(tmp_path, "-c", FAMILY) as guard:
        pids = family(tmp_path)
        guard.terminate()
        guard.wait(PATIENCE_SECONDS)
    assert still_running(pids) == set()


def test_stubborn_command_is_killed(tmp_path: Path) -> None:
    """A command that ignores SIGTERM is killed after the grace time."""
    with guarded(tmp_path, "-c", FAMILY, "stubborn") as guard:
        pids = family(tmp_path)
        assert guard.stdin is not None
        guard.stdin.close()
        assert guard.wait(PATIENCE_SECONDS) == 128 + signal.SIGKILL
    assert still_running(pids) == set()


def test_orphans_of_a_command_that_exited(tmp_path: Path) -> None:
    """The child exits first and leaves its own child behind: the guard ends that too."""
    with guarded(tmp_path, "-c", FAMILY) as guard:
        pids = family(tmp_path)
        child = int((tmp_path / "pids").read_text().split()[0])
        os.kill(child, signal.SIGKILL)
        guard.wait(PATIENCE_SECONDS)
    assert still_running(pids) == set()


def test_content_on_standard_input_is_ignored(tmp_path: Path) -> None:
    """Only the end of standard input counts."""
    with guarded(tmp_path, "-c", FAMILY) as guard:
        pids = family(tmp_path)
        assert guard.stdin is not None
        guard.stdin.write(b"hello\n")
        guard.stdin.flush()
        time.sleep(0.3)
        assert guard.poll() is None
        guard.stdin.close()
        guard.wait(PATIENCE_SECONDS)
    assert still_running(pids) == set()
