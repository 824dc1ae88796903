"""Keep one process: end it, and all that it left behind, when the gateway or the process itself ends."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from typing import Final, NoReturn

from workers.forkserver import orphans

SIGNALLED: Final = 128
"""What the number of the signal that ended the process is added to, for the exit code."""
_LOOK_MILLISECONDS: Final = 1_000
_END_SECONDS: Final = 5.0


def keep(pid: int, alive: int) -> NoReturn:
    """Wait until the child `pid` ends, or until no process can write to the pipe `alive`; then end all.

    Exits with the child's code, which ends this process.
    """
    wakeup, wakeup_writer = os.pipe()
    for descriptor in (wakeup, wakeup_writer):
        os.set_blocking(descriptor, False)
    signal.signal(signal.SIGCHLD, _ignore)
    signal.set_wakeup_fd(wakeup_writer, warn_on_full_buffer=False)
    poll = select.poll()
    poll.register(alive, 0)  # its end is reported in any case
    poll.register(wakeup, select.POLLIN)
    code = None
    while code is None:
        ready = {descriptor for descriptor, _ in poll.poll(_LOOK_MILLISECONDS)}
        with suppress(BlockingIOError):
            os.read(wakeup, 2**12)
        code = _collect(pid)
        if alive in ready and code is None:
            code = SIGNALLED + signal.SIGKILL
    deadline = time.monotonic() + _END_SECONDS
    while orphans.end_orphans(workers=()) and time.monotonic() < deadline:
        pass
    os._exit(code)


def _collect(kept: int) -> int | None:
    """Reap all children that have ended; return the exit code of the one that is kept, if it has."""
    code = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == kept:
                status = os.waitstatus_to_exitcode(ended[1])
                code = status if status >= 0 else SIGNALLED - status
    return code


def _ignore(number: int, frame: object) -> None:
    """Do nothing: the signal only wakes the loop."""
