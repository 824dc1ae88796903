"""Isolate a worker process: it ends with the gateway, and can send the gateway nothing but replies."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import random
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_OOM_SCORE_ADJ = "500"  # as if it used half of the machine's memory more


def die_with_parent() -> None:
    """End this process when the fork server ends, which ends with the gateway; start a session.

    The session's process group lets the gateway end what the model started, and keeps a terminal's
    Ctrl-C away from the worker.
    """
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:  # the fork server ended before the call
            os._exit(1)
        _close_forkserver_pipe()
        _prefer_for_oom_kill()
    # Not every system has that call, and the kernel forgets it if the model changes credentials.
    threading.Thread(target=_exit_with_gateway, name="gateway-watch", daemon=True).start()


def _prefer_for_oom_kill() -> None:
    """Make the kernel kill a worker sooner than the gateway or the fork server if memory runs out."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE_ADJ, encoding="ascii")


def _close_forkserver_pipe() -> None:
    """Close this process' copy of the pipe whose end tells the fork server that the gateway has ended.

    multiprocessing passes it to each child, for children of its own. With the copy open the fork server
    would wait for the workers, which wait for it.
    """
    server: Any = forkserver._forkserver  # noqa: SLF001 - no public function closes it
    descriptor, server._forkserver_alive_fd = server._forkserver_alive_fd, None  # noqa: SLF001 - as above
    if descriptor is not None:
        os.close(descriptor)


def close_executor_results() -> None:
    """Close the pipe of the executor's results before any code of the model runs.

    The gateway unpickles what comes through it, so a model that wrote there could run code in the
    gateway. Replies take the socket, whose bytes are never unpickled.
    """
    frame = sys._getframe()  # noqa: SLF001 - the executor gives its queue to no function
    while frame.f_back is not None:
        frame = frame.f_back
        if (results := frame.f_locals.get("result_queue")) is not None:
            results._writer.close()  # noqa: SLF001 - no public function closes it
            return


def _exit_with_gateway() -> None:
    gateway = multiprocessing.parent_process()
    if gateway is not None:
        gateway.join()
        os.killpg(os.getpgrp(), signal.SIGKILL)


def reseed_random() -> None:
    """Seed the random number generators, so that two workers do not draw the same numbers.

    Each worker is a fork of the fork server and so starts with the same state.
    """
    import numpy as np  # noqa: PLC0415 - not for the gateway's process

    random.seed()
    np.random.seed(int.from_bytes(os.urandom(4), "little"))
