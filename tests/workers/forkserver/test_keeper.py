"""The process beside the fork server of an environment: it ends with it, and ends it with the gateway."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support.waiting import until
from workers.forkserver.keeper import SIGNALLED

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = """
import ctypes, os, sys
from workers.forkserver.keeper import keep
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
pid = os.fork()
if pid == 0:
    CHILD
    os._exit(5)
print(pid, flush=True)
keep(pid, int(sys.argv[1]))
"""
SLEEP = "import time; time.sleep(300)"
STOP = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.setsid(); os.fork(); " + SLEEP

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to such a process")


class Kept:
    """A keeper, and the pipe that it ends with."""

    def __init__(self, child: str) -> None:
        alive, self.pipe = os.pipe()
        command = [sys.executable, "-c", PROGRAM.replace("CHILD", child), str(alive)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[alive])
        os.close(alive)
        assert self.process.stdout is not None
        self.child_pid = int(self.process.stdout.readline())
        self.process.stdout.close()

    def hang_up(self) -> None:
        """Close the pipe, as the end of the gateway does."""
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1


@pytest.fixture
def kept() -> Iterator[list[Kept]]:
    """Keepers of a test, which end after it."""
    keepers: list[Kept] = []
    yield keepers
    for each in keepers:
        each.hang_up()
        each.process.wait(60)


@pytest.mark.parametrize(
    ("child", "code"),
    [("pass", 5), ("os.abort()", SIGNALLED + signal.SIGABRT), ("os.kill(os.getpid(), 9)", SIGNALLED + 9)],
)
def test_it_exits_as_its_child_did(kept: list[Kept], child: str, code: int) -> None:
    """A signal's number is added to 128, as shells do."""
    kept.append(Kept(child))
    assert kept[0].process.wait(60) == code


async def test_it_ends_all_that_is_below_with_the_gateway(kept: list[Kept]) -> None:
    """Whatever signals they ignore, in whatever session they are; it exits as for a child that was killed."""
    kept.append(keeper := Kept(STOP))
    child = psutil.Process(keeper.child_pid)
    await until(lambda: len(child.children()) == 1)
    below = [child, *child.children()]
    keeper.hang_up()
    assert keeper.process.wait(60) == SIGNALLED + signal.SIGKILL
    assert not [process for process in below if process.is_running()]


async def test_it_ends_what_a_child_leaves_behind(kept: list[Kept]) -> None:
    """A daemon, whose parent is the keeper once the child has ended."""
    token = secrets.token_hex()
    daemon = f"'{token}'; r, w = os.pipe()\n    if os.fork() == 0:\n        os.setsid(); os.write(w, b'x'); "
    kept.append(keeper := Kept(f"{daemon}{SLEEP}\n    os.read(r, 1)"))
    assert keeper.process.wait(60) == 5
    mine = [each for each in psutil.process_iter() if token in " ".join(command_of(each))]
    assert mine == []


def command_of(process: psutil.Process) -> list[str]:
    """Return a process' command line, nothing if it has ended."""
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
