"""Runs a command that ends when its keeper does, however the keeper ends.

A program of its own (`python -m gateway.demo.leash COMMAND…`). Its standard input is a pipe that the
keeper holds: when the keeper exits or is killed, the pipe closes, and the whole process group of the
command is ended. Needs nothing of the system but pipes, so it works where `prctl` does not exist.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

GRACE_SECONDS = 8.0


def main(command: list[str]) -> int:
    """Run `command` in a group of its own until it ends, or until standard input or a signal says so.

    The status is the command's, 128 more than the signal's number where one ended it.
    """
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, _noop_handler)
    child = subprocess.Popen(  # noqa: S603  # the command is the demo's own
        command, stdin=subprocess.DEVNULL, start_new_session=True
    )
    _wait_until_over(child, woken)
    status = _stop(child)
    return status if status >= 0 else 128 - status


def _noop_handler(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the signal's number arrives through the wake-up pipe."""


def _wait_until_over(child: subprocess.Popen[bytes], woken: int) -> None:
    """Until the child has ended, a signal other than its end came, or standard input is closed."""
    with selectors.DefaultSelector() as ready:
        for stream in (woken, sys.stdin.fileno()):
            ready.register(stream, selectors.EVENT_READ)
        while child.poll() is None:
            for key, _ in ready.select():
                read = os.read(key.fd, 64)
                if key.fd != woken and not read:
                    return
                if key.fd == woken and set(read) != {signal.SIGCHLD}:
                    return


def _stop(child: subprocess.Popen[bytes]) -> int:
    """End what is left of the child's group, first kindly; the child's status."""
    if child.poll() is None:
        _signal_group(child.pid, signal.SIGTERM)
        try:
            child.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            sys.stderr.write(f"leash: {child.pid} does not end by itself and is killed\n")
    # the child may have left children of its own
    _signal_group(child.pid, signal.SIGKILL)
    return child.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
