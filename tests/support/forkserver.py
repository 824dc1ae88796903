"""End the fork server of this test process, so that the next start begins another one."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def another_forkserver() -> Iterator[None]:
    """End the fork server before and after, so that tests can start it in another way than others do."""
    _end_forkserver()
    yield
    _end_forkserver()


def _end_forkserver() -> None:
    server: Any = forkserver._forkserver
    pid: int | None = server._forkserver_pid
    if pid is not None and psutil.pid_exists(pid):
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # multiprocessing reaps it
