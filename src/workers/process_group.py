"""Ending of a process group whose first process may have ended."""

from __future__ import annotations

import os
import signal
from contextlib import suppress


def kill_group(group: int, *, collected: bool) -> None:
    """Kill a process group; if its first process was `collected`, only if no other process has its id now.

    The system gives an id to another process as soon as the first process is collected and no process of
    its group is left.
    """
    if collected and _exists(group):
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
