"""Run a command that ends when the process that owns it ends, also if that is killed.

A program of its own: `python -m gateway.cli.demo.process_guard COMMAND…`. Its standard input is a pipe that
the owner keeps open. When the owner exits or is killed, the pipe closes, and the guard ends the command's
process group. That needs only pipes, so it also works on systems without `prctl`.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from workers.process_group import kill_group

if TYPE_CHECKING:
    from types import FrameType

GRACE_SECONDS = 8.0


def main(command: list[str], *, grace_seconds: float = GRACE_SECONDS) -> int:
    """Run `command` in a process group of its own until it exits, standard input closes, or a signal comes.

    Return its exit status, or 128 plus the number of the signal that ended it.
    """
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, _noop_handler)
    child = subprocess.Popen(  # noqa: S603  # the demo's own command
        command, stdin=subprocess.DEVNULL, start_new_session=True
    )
    _wait_until_over(child, read_end)
    status = _stop(child, grace_seconds)
    return status if status >= 0 else 128 - status


def _noop_handler(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the signal's number arrives through the wake-up pipe."""


def _wait_until_over(child: subprocess.Popen[bytes], signals: int) -> None:
    """Return when the child has exited, standard input is closed, or `signals` has a signal to stop."""
    with selectors.DefaultSelector() as selector:
        for stream in (signals, sys.stdin.fileno()):
            selector.register(stream, selectors.EVENT_READ)
        while child.poll() is None:
            for key, _ in selector.select():
                content = os.read(key.fd, 64)
                if key.fd != signals and not content:
                    return
                if key.fd == signals and set(content) != {signal.SIGCHLD}:
                    return


def _stop(child: subprocess.Popen[bytes], grace_seconds: float) -> int:
    """End the child's process group by SIGTERM, then by SIGKILL; return the child's status."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            sys.stderr.write(
                f"process_guard: killing {child.pid}, which did not end in {grace_seconds:g} s\n"
            )
    kill_group(child.pid, collected=child.returncode is not None)  # it may have left children of its own
    return child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
