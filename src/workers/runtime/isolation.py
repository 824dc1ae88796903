"""Isolate a worker process: it ends with the gateway, and takes no signal of a terminal."""

from __future__ import annotations

import ctypes
import os
import random
import select
import signal
import sys
import threading
import time
from contextlib import suppress
from multiprocessing import process as multiprocessing_process
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

_PR_SET_DUMPABLE: Final = 4
_OOM_SCORE_ADJ: Final = "500"  # as if it used half of the machine's memory more
_AUTHKEY_BYTES: Final = 32
_EXIT_SECONDS: Final = 10.0  # for a worker to end by itself; the gateway kills it before
_HANG_UP: Final = getattr(select, "POLLRDHUP", select.POLLHUP)


def forget_fork_server() -> None:
    """Give this process secrets of its own, and make it a process like others to the system.

    The fork server lets no process of the same user look at its memory or its descriptors. The gateway has
    to measure the memory of workers.
    """
    multiprocessing_process.current_process().authkey = os.urandom(_AUTHKEY_BYTES)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def watch_gateway(sock: socket.socket) -> None:
    """End this process, whatever it does, some time after the gateway has closed the other end of `sock`.

    Not every system ends it with the fork server, and Linux no longer does if the model changes credentials.
    """
    watch = threading.Thread(
        target=_exit_with_gateway, args=[sock.fileno()], name="gateway-watch", daemon=True
    )
    watch.start()


def prefer_for_oom_kill() -> None:
    """Make the kernel kill a worker sooner than the gateway or the fork server if memory runs out."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # otherwise the file belongs to root
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(_OOM_SCORE_ADJ)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _exit_with_gateway(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, _HANG_UP)
    if poll.poll()[0][1] & select.POLLNVAL:
        return  # the model closed it
    time.sleep(_EXIT_SECONDS)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def reseed_random() -> None:
    """Seed the random number generators, so that two workers do not draw the same numbers.

    Each worker is a fork of the fork server and so starts with the same state.
    """
    import numpy as np  # noqa: PLC0415 - not for the gateway's process

    random.seed()
    np.random.seed(int.from_bytes(os.urandom(4), "little"))
