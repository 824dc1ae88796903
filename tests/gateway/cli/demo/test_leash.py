"""The demo's other programs end with it, whatever happens to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tests.support.commands import left

if TYPE_CHECKING:
    from pathlib import Path

# a child that starts a child of its own, writes both pids, and stays
FAMILY = (
    "import os, signal, subprocess, sys, time\n"
    "if 'stubborn' in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "open('pids.part', 'w').write(f'{os.getpid()} {grandchild.pid}')\n"
    "os.rename('pids.part', 'pids')\n"
    "time.sleep(600)\n"
)
LEASH = (
    "import sys\n"
    "from gateway.demo import leash\n"
    "leash.GRACE_SECONDS = 0.5\n"
    "sys.exit(leash.main(sys.argv[1:]))\n"
)


def leashed(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    """A leash over a Python command, in `folder`."""
    words = [sys.executable, "-c", LEASH, sys.executable, *command]
    return subprocess.Popen(words, stdin=subprocess.PIPE, cwd=folder)


def family(folder: Path) -> set[int]:
    """The pids of the child and the grandchild, once they run."""
    until = time.monotonic() + 30
    while not (folder / "pids").exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    return {int(pid) for pid in (folder / "pids").read_text().split()}


def test_status_is_the_commands() -> None:
    """A command that ends by itself: the leash ends with its status."""
    with subprocess.Popen(
        [sys.executable, "-m", "gateway.cli.demo.leash", sys.executable, "-c", "raise SystemExit(7)"],
        stdin=subprocess.PIPE,
    ) as leash:
        assert leash.wait(30) == 7


def test_closed_pipe_ends_the_group(tmp_path: Path) -> None:
    """The keeper is gone: the command and what it started go too."""
    with leashed(tmp_path, "-c", FAMILY) as leash:
        pids = family(tmp_path)
        assert leash.stdin is not None
        leash.stdin.close()
        assert leash.wait(30) == 128 + signal.SIGTERM
    assert left(pids) == set()


def test_signal_ends_the_group(tmp_path: Path) -> None:
    """A signal to the leash does the same."""
    with leashed(tmp_path, "-c", FAMILY) as leash:
        pids = family(tmp_path)
        leash.terminate()
        leash.wait(30)
    assert left(pids) == set()


def test_stubborn_command_is_killed(tmp_path: Path) -> None:
    """A command that ignores SIGTERM has its grace, and is killed then."""
    with leashed(tmp_path, "-c", FAMILY, "stubborn") as leash:
        pids = family(tmp_path)
        assert leash.stdin is not None
        leash.stdin.close()
        assert leash.wait(30) == 128 + signal.SIGKILL
    assert left(pids) == set()


def test_orphans_of_a_command_that_ended(tmp_path: Path) -> None:
    """The child ends first and leaves its own child behind: that one ends too."""
    with leashed(tmp_path, "-c", FAMILY) as leash:
        pids = family(tmp_path)
        child = int((tmp_path / "pids").read_text().split()[0])
        os.kill(child, signal.SIGKILL)
        leash.wait(30)
    assert left(pids) == set()


def test_words_on_standard_input_mean_nothing(tmp_path: Path) -> None:
    """Only the end of standard input counts."""
    with leashed(tmp_path, "-c", FAMILY) as leash:
        pids = family(tmp_path)
        assert leash.stdin is not None
        leash.stdin.write(b"hello\n")
        leash.stdin.flush()
        time.sleep(0.3)
        assert leash.poll() is None
        leash.stdin.close()
        leash.wait(30)
    assert left(pids) == set()
